//! Groups: names, tiers, failback, stickiness.

use crate::{shown, with_two};

#[test]
fn names_that_groups_cannot_have() {
    let text = with_two(
        r#"[group.isp1]
tiers = [["isp1"]]
[group.block]
tiers = [["isp1"]]
[group.main]
tiers = [["isp1"]]
[group."a b"]
tiers = [["isp1"]]
[group.abcdefghijklmnopqrstuvwxyz0123456]
tiers = [["isp1"]]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: a group cannot be named `isp1`: an uplink has that name, and policies could mean either
 --> u.toml:3:8
  |
1 | uplink.isp1.interface = "eth1"
  |        ---- the uplink
2 | uplink.isp2.interface = "eth2"
3 | [group.isp1]
  |        ^^^^ taken
  |
  = hint: choose another name for one of them

error: a group cannot be named `block`: policies write that word for something else
 --> u.toml:5:8
  |
5 | [group.block]
  |        ^^^^^ not a name for a group
  |
  = hint: choose another name, such as `calls`

error: a group cannot be named `main`: policies write that word for something else
 --> u.toml:7:8
  |
7 | [group.main]
  |        ^^^^ not a name for a group
  |
  = hint: choose another name, such as `calls`

error: a group cannot be named `a b`: a letter first, then letters, digits, `_` and `-`, at most 32
 --> u.toml:9:8
  |
9 | [group."a b"]
  |        ^^^^^ not a name for a group
  |
  = hint: choose a name such as `calls`

error: a group cannot be named `abcdefghijklmnopqrstuvwxyz0123456`: a letter first, then letters, digits, `_` and `-`, at most 32
  --> u.toml:11:8
   |
11 | [group.abcdefghijklmnopqrstuvwxyz0123456]
   |        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ not a name for a group
   |
   = hint: choose a name such as `calls`
"#);
}

#[test]
fn members_that_are_no_uplinks() {
    let text = with_two(
        r#"[group.calls]
tiers = [["ips1", "telekom"], ["other"], [{ uplink = "isp3", weight = 300 }]]
[group.other]
tiers = [["isp2"], ["isp1", "isp2"]]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: group `calls` names an uplink `ips1` that is not there
 --> u.toml:4:11
  |
4 | tiers = [["ips1", "telekom"], ["other"], [{ uplink = "isp3", weight = 300 }]]
  |           ^^^^^^ no such uplink
  |
  = hint: did you mean "isp1"?

error: group `calls` names an uplink `telekom` that is not there
 --> u.toml:4:19
  |
4 | tiers = [["ips1", "telekom"], ["other"], [{ uplink = "isp3", weight = 300 }]]
  |                   ^^^^^^^^^ no such uplink
  |
  = hint: there are: `isp1`, `isp2`

error: group `calls` names an uplink `other` that is not there
 --> u.toml:4:32
  |
4 | tiers = [["ips1", "telekom"], ["other"], [{ uplink = "isp3", weight = 300 }]]
  |                                ^^^^^^^ no such uplink
  |
  = hint: that is a group; only uplinks are members of a group

error: group `calls` names an uplink `isp3` that is not there
 --> u.toml:4:54
  |
4 | tiers = [["ips1", "telekom"], ["other"], [{ uplink = "isp3", weight = 300 }]]
  |                                                      ^^^^^^ no such uplink
  |
  = hint: did you mean "isp1"?

error: the weight of `isp3` in group `calls` must be 1 to 256, not 300
 --> u.toml:4:71
  |
4 | tiers = [["ips1", "telekom"], ["other"], [{ uplink = "isp3", weight = 300 }]]
  |                                                                       ^^^ not in 1 to 256
  |
  = hint: only the ratio inside the tier counts

error: uplink `isp2` is in group `other` twice
 --> u.toml:6:29
  |
6 | tiers = [["isp2"], ["isp1", "isp2"]]
  |           ------ first here ^^^^^^ again here
  |
  = hint: keep the better tier; weights tell shares inside one
"#);
}

#[test]
fn tiers_that_are_missing_or_empty() {
    let text = with_two(
        r#"[group.a]
[group.b]
tiers = []
[group.c]
tiers = [["isp1"], []]
[group.default]
sticky = "source"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: group `a` has no tiers
 --> u.toml:3:8
  |
3 | [group.a]
  |        ^ `tiers` is missing
  |
  = hint: add `tiers = [["isp1"], ["isp2"]]`, with the uplinks to prefer first

error: group `b` has no tiers
 --> u.toml:5:9
  |
5 | tiers = []
  |         ^^ nothing is in it
  |
  = hint: write one list of uplinks for each tier: `[["isp1"], ["isp2"]]`

error: tier 2 of group `c` has no uplinks
 --> u.toml:7:20
  |
7 | tiers = [["isp1"], []]
  |                    ^^ nothing is in it
  |
  = hint: remove it, or put an uplink into it
"#);
}

#[test]
fn tiers_of_a_wrong_shape() {
    let text = with_two(
        r#"[group.a]
tiers = ["isp1", "isp2"]
[group.b]
tiers = "isp1"
[group.c]
tiers = [["isp1", 3, { weight = 3 }, { uplink = "isp2", wieght = 2 }]]
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: an entry of `tiers` in [group.a] is text, not a list of uplinks
 --> u.toml:4:10
  |
4 | tiers = ["isp1", "isp2"]
  |          ^^^^^^ expected a list of uplinks
  |
  = hint: write for example `tiers = [["isp1"], ["isp2"]]`

error: an entry of `tiers` in [group.a] is text, not a list of uplinks
 --> u.toml:4:18
  |
4 | tiers = ["isp1", "isp2"]
  |                  ^^^^^^ expected a list of uplinks
  |
  = hint: write for example `tiers = [["isp1"], ["isp2"]]`

error: `tiers` in [group.b] is text, not a list of lists of uplinks
 --> u.toml:6:9
  |
6 | tiers = "isp1"
  |         ^^^^^^ expected a list of lists of uplinks
  |
  = hint: write for example `tiers = [["isp1"], ["isp2"]]`

error: an entry of `tiers` in [group.c] is a number, not the name of an uplink
 --> u.toml:8:19
  |
8 | tiers = [["isp1", 3, { weight = 3 }, { uplink = "isp2", wieght = 2 }]]
  |                   ^ expected the name of an uplink
  |
  = hint: write for example `tiers = [["isp1"], ["isp2"]]`

error: a member in [group.c.tiers] does not name its uplink
 --> u.toml:8:22
  |
8 | tiers = [["isp1", 3, { weight = 3 }, { uplink = "isp2", wieght = 2 }]]
  |                      ^^^^^^^^^^^^^^ `uplink` is missing
  |
  = hint: write `{ uplink = "isp1", weight = 9 }`, or only "isp1"

error: unknown key `wieght` in [group.c.tiers]
 --> u.toml:8:57
  |
8 | tiers = [["isp1", 3, { weight = 3 }, { uplink = "isp2", wieght = 2 }]]
  |                                                         ^^^^^^ no such key
  |
  = hint: did you mean `weight`?
"#);
}

#[test]
fn groups_without_a_name_are_explained() {
    let text = with_two("[group]\ntiers = [[\"isp1\"]]\nother = 3\n");
    insta::assert_snapshot!(shown(&text), @r#"
error: `tiers` in [group] is a list, not a group
 --> u.toml:4:9
  |
4 | tiers = [["isp1"]]
  |         ^^^^^^^^^^ expected a table
  |
  = hint: every group has a name: write `[group.calls]` instead of `[group]`

error: `other` in [group] is a number, not a group
 --> u.toml:5:9
  |
5 | other = 3
  |         ^ expected a table
  |
  = hint: write `[group.NAME]`, and `tiers = [["isp1"], ["isp2"]]` below it
"#);
    insta::assert_snapshot!(shown(&with_two("[[group]]\nname = \"x\"\n")), @r#"
error: `group` at the top of the file is a list, not a table
 --> u.toml:3:1
  |
3 | [[group]]
  | ^^^^^^^^^ expected a table
  |
  = hint: write a table for each group: `[group.calls]`
"#);
}

#[test]
fn a_name_may_belong_to_a_group_that_could_not_be_read() {
    let text = with_two("group.calls = 3\n[[policy]]\nuse = \"calls\"\n");
    insta::assert_snapshot!(shown(&text), @r#"
error: `calls` in [group] is a number, not a group
 --> u.toml:3:15
  |
3 | group.calls = 3
  |               ^ expected a table
  |
  = hint: write `[group.NAME]`, and `tiers = [["isp1"], ["isp2"]]` below it
"#);
}

#[test]
fn failback_that_is_none() {
    let text = with_two(
        r#"[group.a]
tiers = [["isp1"], ["isp2"]]
failback = "at_once"
[group.b]
tiers = [["isp1"], ["isp2"]]
failback = { after = "0s", flows = "stay" }
[group.c]
tiers = [["isp1"], ["isp2"]]
failback = { after = "60", by_hand = true }
[group.d]
tiers = [["isp1"], ["isp2"]]
failback = { after = "8days" }
[group.e]
tiers = [["isp1"], ["isp2"]]
failback = 60
[group.f]
tiers = [["isp1"], ["isp2"]]
failback = "never"
[group.g]
tiers = [["isp1"], ["isp2"]]
failback = { after = 60 }
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: the failback of group `a` cannot be `at_once`
 --> u.toml:5:12
  |
5 | failback = "at_once"
  |            ^^^^^^^^^ no such word
  |
  = hint: did you mean "at-once"?

error: the wait before the failback of group `b` must be 1s to 7days, not `0s`
 --> u.toml:8:22
  |
8 | failback = { after = "0s", flows = "stay" }
  |                      ^^^^ not in 1s to 7days
  |
  = hint: "60s" is usual; write `failback = "at-once"` for no waiting at all

error: the flows at the failback of group `b` cannot be `stay`
 --> u.toml:8:36
  |
8 | failback = { after = "0s", flows = "stay" }
  |                                    ^^^^^^ no such word
  |
  = hint: write "keep" or "drain" or "move"

error: the failback of group `c` is both by hand and after a time
  --> u.toml:11:38
   |
11 | failback = { after = "60", by_hand = true }
   |                      ----            ^^^^ by hand here
   |                      |
   |                      after a time here
   |
   = hint: keep one of them

error: the wait before the failback of group `d` must be 1s to 7days, not `8days`
  --> u.toml:14:22
   |
14 | failback = { after = "8days" }
   |                      ^^^^^^^ not in 1s to 7days
   |
   = hint: "60s" is usual; write `failback = "at-once"` for no waiting at all

error: `failback` in [group.e] is a number, not text in quotes or a table
  --> u.toml:17:12
   |
17 | failback = 60
   |            ^^ expected text in quotes or a table
   |
   = hint: write for example `failback = "at-once"`

error: the failback of group `f` cannot be `never`
  --> u.toml:20:12
   |
20 | failback = "never"
   |            ^^^^^^^ no such word
   |
   = hint: write "at-once" or "by-hand" or a table such as `{ after = "60s", flows = "drain" }`

error: `after` in [group.g.failback] is a number, not text in quotes
  --> u.toml:23:22
   |
23 | failback = { after = 60 }
   |                      ^^ expected text in quotes
   |
   = hint: write for example `after = "60s"`
"#);
}

#[test]
fn stickiness_that_is_none() {
    let text = with_two(
        r#"[group.a]
tiers = [["isp1"], ["isp2"]]
sticky = "sources"
[group.b]
tiers = [["isp1"], ["isp2"]]
sticky = { for = "10m" }
[group.c]
tiers = [["isp1"], ["isp2"]]
sticky = { by = "source", for = "31days" }
[group.d]
tiers = [["isp1"], ["isp2"]]
sticky = { by = "mac", fro = "10m" }
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: what is sticky in group `a` cannot be `sources`
 --> u.toml:5:10
  |
5 | sticky = "sources"
  |          ^^^^^^^^^ no such word
  |
  = hint: did you mean "source"?

error: the sticky of group `b` does not say by what
 --> u.toml:8:10
  |
8 | sticky = { for = "10m" }
  |          ^^^^^^^^^^^^^^^ `by` is missing
  |
  = hint: add `by = "source"` or `by = "source-destination"`

error: how long choices are sticky in group `c` must be 1s to 30days, not `31days`
  --> u.toml:11:33
   |
11 | sticky = { by = "source", for = "31days" }
   |                                 ^^^^^^^^ not in 1s to 30days
   |
   = hint: "24h" is the default; it counts from the last new connection

error: what is sticky in group `d` cannot be `mac`
  --> u.toml:14:17
   |
14 | sticky = { by = "mac", fro = "10m" }
   |                 ^^^^^ no such word
   |
   = hint: write "source" or "source-destination" or "connection"

error: unknown key `fro` in [group.d.sticky]
  --> u.toml:14:24
   |
14 | sticky = { by = "mac", fro = "10m" }
   |                        ^^^ no such key
   |
   = hint: did you mean `for`?
"#);
}

#[test]
fn an_uplink_that_nothing_leads_to_is_a_warning() {
    let text = with_two("[group.default]\ntiers = [[\"isp1\"]]\n[group.a]\ntiers = [[\"isp2\"]]\n");
    insta::assert_snapshot!(shown(&text), @r#"
warning: nothing leads to uplink `isp2`
 --> u.toml:2:8
  |
2 | uplink.isp2.interface = "eth2"
  |        ^^^^ only carries connections from outside
  |
  = hint: put it into [group.default], or let a policy lead to it
"#);
    let used = format!("{text}[[policy]]\nuse = \"isp1\"\notherwise = \"a\"\n");
    insta::assert_snapshot!(shown(&used), @"");
}

#[test]
fn a_group_says_from_where_on_members_yield_in_it() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth2"
[group.calls]
tiers = [["isp1"], ["isp2"]]
yield_at = { loss = "2%", rtt = "150ms" }
[group.downloads]
tiers = [["isp1", "isp2"]]
yield_at = { loss = "30%", rtt = "off" }
[[policy]]
use = "calls"
otherwise = "downloads"
"#;
    let parsed = uplinkd_config::parse("u.toml", text).unwrap();
    let config = parsed.to_config(&Default::default(), &Default::default());
    let limit = |loss, ms: Option<u64>| {
        let rtt = ms.map(std::time::Duration::from_millis);
        Some(uplinkd_model::policy::YieldAt { loss, rtt })
    };
    let calls = limit(Some(uplinkd_model::Permille(20)), Some(150));
    let downloads = limit(Some(uplinkd_model::Permille(300)), None);
    let of = |index: usize| config.groups[index].conduct.yield_at;
    assert_eq!((of(0), of(1), of(2)), (None, calls, downloads));
    // Each tier of an outlet keeps to the limits of the group that it belongs to.
    let outlet = &config.outlets[1].kind;
    let uplinkd_model::OutletKind::Uplinks(outflow) = outlet else {
        panic!("{outlet:?}");
    };
    let limits: Vec<_> = outflow.tiers.iter().map(|t| t.conduct.yield_at).collect();
    assert_eq!(limits, [calls, calls, downloads]);
}

#[test]
fn a_limit_that_says_nothing_or_is_never_seen_is_refused() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth2"
[group.calls]
tiers = [["isp1"], ["isp2"]]
yield_at = { loss = "2", rtt = "1s" }
[group.web]
tiers = [["isp1"], ["isp2"]]
yield_at = {}
[group.mail]
tiers = [["isp1"], ["isp2"]]
yield_at = "2%"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the loss at which members of group `calls` yield cannot be `2`
 --> u.toml:8:21
  |
8 | yield_at = { loss = "2", rtt = "1s" }
  |                     ^^^ not a part in percent
  |
  = hint: write "0.1%" to "100%", or "off" for no limit

error: the round-trip time at which members of group `calls` yield can never be seen on `isp1`
 --> u.toml:8:32
  |
8 | yield_at = { loss = "2", rtt = "1s" }
  |                                ^^^^ as long as an answer may take there, or longer
  |
  = hint: choose a shorter time, or a longer `timeout` for the uplink's probes

error: group `web` does not say when to yield
  --> u.toml:11:1
   |
11 | yield_at = {}
   | ^^^^^^^^ neither `loss` nor `rtt` is in it
   |
   = hint: write for example `yield_at = { loss = "2%", rtt = "150ms" }`

error: `yield_at` in [group.mail] is text, not a table
  --> u.toml:14:12
   |
14 | yield_at = "2%"
   |            ^^^^ expected a table
   |
   = hint: write `[group.mail.yield_at]`, and its keys below it
"#);
}

#[test]
fn with_one_uplink_nobody_can_yield() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
[group.calls]
tiers = [["isp1"]]
yield_at = { loss = "2%" }
[[policy]]
use = "calls"
"#;
    insta::assert_snapshot!(shown(text), @r#"
warning: nobody in group `calls` can yield
 --> u.toml:6:1
  |
6 | yield_at = { loss = "2%" }
  | ^^^^^^^^ there is no other uplink to yield to
  |
  = hint: remove it, or add an uplink to the tier or a further tier
"#);
}

#[test]
fn shares_that_follow_the_lines() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
weight = "auto"
[uplink.isp2]
interface = "eth2"
[uplink.isp3]
interface = "eth3"
weight = 4
[group.default]
tiers = [["isp1", "isp2"], ["isp3"]]
overflow_at = "80%"
[group.calls]
tiers = [["isp1", "isp3"]]
balance = "lowest-latency"
[group.web]
tiers = [[{ uplink = "isp2", weight = "auto" }, { uplink = "isp3", weight = "auto" }]]
[[policy]]
use = "web"
"#;
    let text = text.replace("[\"isp1\", \"isp3\"]", "[\"isp2\", \"isp3\"]");
    let parsed = uplinkd_config::parse("u.toml", &text).unwrap();
    let groups = parsed.groups();
    let follows = |group: usize, tier: usize| -> Vec<_> {
        let members = groups[group].tiers[tier].iter();
        members.map(|m| m.is_auto).collect()
    };
    // One without a weight does as the others do.
    assert_eq!(
        (follows(0, 0), follows(0, 1)),
        (vec![true, true], vec![false])
    );
    assert_eq!(
        (follows(1, 0), follows(2, 0)),
        (vec![false, false], vec![true, true])
    );
    let overflow = groups[0].conduct.overflow_at;
    assert_eq!(overflow, Some(uplinkd_model::Permille(800)));
    let balance = groups[1].conduct.balance;
    assert_eq!(balance, uplinkd_model::policy::Balance::LowestLatency);
}

#[test]
fn weights_and_shares_that_make_no_sense() {
    let text = r#"
[uplink.isp1]
interface = "eth1"
weight = "auto"
[uplink.isp2]
interface = "eth2"
weight = 2
[uplink.isp3]
interface = "eth3"
weight = "automatic"
[group.calls]
tiers = [["isp1"], ["isp2"]]
balance = "fastest"
overflow_at = "lot"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: uplink `isp2` has a weight of its own in group `default` beside one that is "auto"
 --> u.toml:7:10
  |
7 | weight = 2
  |          ^ a number has no meaning there
  |
  = hint: write "auto" for all uplinks of the tier, or for none

error: the weight of uplink `isp3` cannot be `automatic`
  --> u.toml:10:10
   |
10 | weight = "automatic"
   |          ^^^^^^^^^^^ no such word
   |
   = hint: write "auto" or a number

error: the balance of group `calls` cannot be `fastest`
  --> u.toml:13:11
   |
13 | balance = "fastest"
   |           ^^^^^^^^^ no such word
   |
   = hint: write "weights" or "least-used" or "lowest-latency"

error: the part at which tiers of group `calls` overflow cannot be `lot`
  --> u.toml:14:15
   |
14 | overflow_at = "lot"
   |               ^^^^^ not a part in percent
   |
   = hint: write "0.1%" to "100%", or "off" for no limit
"#);
}

#[test]
fn a_single_tier_has_nothing_to_overflow_into_and_single_uplinks_nothing_to_balance() {
    let text = with_two(
        r#"[group.calls]
tiers = [["isp1"]]
balance = "least-used"
overflow_at = "80%"
[[policy]]
use = "calls"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
warning: group `calls` has nothing to balance
 --> u.toml:5:11
  |
5 | balance = "least-used"
  |           ^^^^^^^^^^^^ no tier has two uplinks
  |
  = hint: remove it, or put uplinks into one tier: `[["isp1", "isp2"]]`

warning: group `calls` has nothing to overflow into
 --> u.toml:6:15
  |
6 | overflow_at = "80%"
  |               ^^^^^ there is no further tier
  |
  = hint: remove it, or add a tier
"#);
}
