//! Policies as a whole: names, where they lead, and what can never match.

use crate::{shown, with_two};

#[test]
fn names_of_policies() {
    let text = with_two(
        r#"[[policy]]
name = "a"
use = "isp1"
[[policy]]
name = "a"
use = "isp1"
[[policy]]
name = "4u"
use = "isp1"
[[policy]]
name = "policy-5"
use = "isp1"
[[policy]]
use = "isp1"
[[policy]]
name = 7
use = "isp1"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: policy `a` is defined twice
 --> u.toml:7:8
  |
4 | name = "a"
  |        --- first here
...
7 | name = "a"
  |        ^^^ again here
  |
  = hint: give one of them another name; without one it is `policy-N`, by its place in the file

error: a policy cannot be named `4u`
  --> u.toml:10:8
   |
10 | name = "4u"
   |        ^^^^ not a name for a policy
   |
   = hint: a letter first, then letters, digits, `_` and `-`, at most 32

error: policy `policy-5` is defined twice
  --> u.toml:15:1
   |
13 | name = "policy-5"
   |        ---------- first here
14 | use = "isp1"
15 | [[policy]]
   | ^^^^^^^^^^ again here
   |
   = hint: give one of them another name; without one it is `policy-N`, by its place in the file

error: `name` in policy `policy-6` is a number, not text in quotes
  --> u.toml:18:8
   |
18 | name = 7
   |        ^ expected text in quotes
   |
   = hint: write for example `name = "voip"`
"#);
}

#[test]
fn policies_that_lead_nowhere() {
    let text = with_two(
        r#"[group.calls]
tiers = [["isp1"]]
[[policy]]
name = "a"
[[policy]]
name = "b"
use = "cals"
[[policy]]
name = "c"
use = "telekom"
otherwise = "blokc"
[[policy]]
name = "d"
use = "calls"
otherwise = "telekom"
[[policy]]
name = "e"
use = "calls"
otherwise = "main"
[[policy]]
name = "f"
use = "isp2"
otherwise = "blokc"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: policy `a` does not say where it leads
 --> u.toml:5:1
  |
5 | [[policy]]
  | ^^^^^^^^^^ `use` is missing
  |
  = hint: add `use = "GROUP"`, an uplink's name, "block" or "main"

error: `use` of policy `b` leads to `cals`, which is not there
 --> u.toml:9:7
  |
9 | use = "cals"
  |       ^^^^^^ no group or uplink of that name
  |
  = hint: did you mean "calls"?

error: `use` of policy `c` leads to `telekom`, which is not there
  --> u.toml:12:7
   |
12 | use = "telekom"
   |       ^^^^^^^^^ no group or uplink of that name
   |
   = hint: there are: `isp1`, `isp2`, `calls`, `block`, `main`, `default`

error: `otherwise` of policy `d` leads to `telekom`, which is not there
  --> u.toml:17:13
   |
17 | otherwise = "telekom"
   |             ^^^^^^^^^ no group or uplink of that name
   |
   = hint: there are: `isp1`, `isp2`, `calls`, `default`, `block`

error: `otherwise` of policy `e` cannot be `main`
  --> u.toml:21:13
   |
21 | otherwise = "main"
   |             ^^^^^^ only `use` can leave traffic to the main table
   |
   = hint: write "default", "block", or another group or uplink

error: `otherwise` of policy `f` leads to `blokc`, which is not there
  --> u.toml:25:13
   |
25 | otherwise = "blokc"
   |             ^^^^^^^ no group or uplink of that name
   |
   = hint: did you mean "block"?
"#);
}

#[test]
fn the_default_group_is_proposed_once() {
    let text = with_two("[group.default]\nsticky = \"source\"\n[[policy]]\nuse = \"lte\"\n");
    insta::assert_snapshot!(shown(&text), @r#"
error: `use` of policy `policy-1` leads to `lte`, which is not there
 --> u.toml:6:7
  |
6 | use = "lte"
  |       ^^^^^ no group or uplink of that name
  |
  = hint: there are: `isp1`, `isp2`, `default`, `block`, `main`
"#);
}

#[test]
fn an_otherwise_that_changes_nothing() {
    let text = with_two(
        r#"[[policy]]
name = "a"
use = "block"
otherwise = "isp1"
[[policy]]
name = "b"
use = "main"
otherwise = "default"
[[policy]]
name = "c"
use = "isp1"
otherwise = "isp1"
[[policy]]
name = "d"
use = "default"
otherwise = "default"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: policy `a` has an `otherwise` that is never needed
 --> u.toml:6:13
  |
5 | use = "block"
  |       ------- leads here
6 | otherwise = "isp1"
  |             ^^^^^^ `block` never fails
  |
  = hint: remove it, or let `use` name a group or an uplink

error: policy `b` has an `otherwise` that is never needed
  --> u.toml:10:13
   |
 9 | use = "main"
   |       ------ leads here
10 | otherwise = "default"
   |             ^^^^^^^^^ `main` never fails
   |
   = hint: remove it, or let `use` name a group or an uplink

error: policy `c` leads to `isp1` and, when that fails, to it again
  --> u.toml:14:13
   |
13 | use = "isp1"
   |       ------ leads here
14 | otherwise = "isp1"
   |             ^^^^^^ the same again
   |
   = hint: name another group, "block", or remove it for the default group

error: policy `d` leads to `default` and, when that fails, to it again
  --> u.toml:18:13
   |
17 | use = "default"
   |       --------- leads here
18 | otherwise = "default"
   |             ^^^^^^^^^ the same again
   |
   = hint: name another group, "block", or remove it for the default group
"#);
}

#[test]
fn an_uplink_that_has_the_name_of_a_word() {
    let text = r#"uplink.block.interface = "eth1"
[[policy]]
name = "a"
use = "block"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `use` of policy `a` could mean uplink `block` or the word `block`
 --> u.toml:4:7
  |
1 | uplink.block.interface = "eth1"
  |        ----- the uplink
...
4 | use = "block"
  |       ^^^^^^^ which of them?
  |
  = hint: give the uplink another name
"#);
    insta::assert_snapshot!(shown("uplink.block.interface = \"eth1\"\n"), @"");
}

#[test]
fn tables_of_a_wrong_shape() {
    let text = with_two(
        r#"[[policy]]
name = "a"
use = "isp1"
match = "udp"
flows = "drop"
[[policy]]
name = "b"
use = ["isp1"]
match = { not = 3 }
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: `match` in policy `a` is text, not a table
 --> u.toml:6:9
  |
6 | match = "udp"
  |         ^^^^^ expected a table
  |
  = hint: write `match = { dport = 443 }`, or `[policy.match]` and its keys below it

error: the flows of policy `a` cannot be `drop`
 --> u.toml:7:9
  |
7 | flows = "drop"
  |         ^^^^^^ no such word
  |
  = hint: write "keep" or "move"

error: `use` in policy `b` is a list, not text in quotes
  --> u.toml:10:7
   |
10 | use = ["isp1"]
   |       ^^^^^^^^ expected text in quotes
   |
   = hint: write for example `use = "calls"`

error: `not` in the match of policy `b` is a number, not a table
  --> u.toml:11:17
   |
11 | match = { not = 3 }
   |                 ^ expected a table
   |
   = hint: write `[policy.match.not]`, and its keys below it
"#);
    insta::assert_snapshot!(shown(&with_two("[policy]\nuse = \"isp1\"\n")), @r#"
error: `policy` at the top of the file is a table, not a list of tables
 --> u.toml:3:1
  |
3 | [policy]
  | ^^^^^^^^ expected a list of tables
  |
  = hint: write `[[policy]]`, with two brackets, for each policy
"#);
    insta::assert_snapshot!(shown(&with_two("policy = [\"isp1\"]\n")), @r#"
error: an entry of `policy` at the top of the file is text, not a table
 --> u.toml:3:11
  |
3 | policy = ["isp1"]
  |           ^^^^^^ expected a table
  |
  = hint: write `[[policy]]`, with two brackets, for each policy
"#);
}

#[test]
fn keys_that_are_unknown_or_elsewhere() {
    let text = with_two(
        r#"[[policy]]
name = "a"
use = "isp1"
target = "isp2"
dport = 443
match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: unknown key `target` in policy `a`
 --> u.toml:6:1
  |
6 | target = "isp2"
  | ^^^^^^ no such key
  |
  = hint: did you mean `use`?

error: `dport` does not belong in policy `a`
 --> u.toml:7:1
  |
7 | dport = 443
  | ^^^^^ not here
  |
  = hint: it belongs in [policy.match]

error: unknown key `src` in the match of policy `a`
 --> u.toml:8:11
  |
8 | match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
  |           ^^^ no such key
  |
  = hint: did you mean `source`?

error: unknown key `prot` in the match of policy `a`
 --> u.toml:8:29
  |
8 | match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
  |                             ^^^^ no such key
  |
  = hint: known here: `source`, `destination`, `protocol`, `sport`, `dport`, `interface`, `mac`, `dscp`, `mark`, `user`, `group`, `cgroup`, `unit`, `icmp`, `schedule`, `domain`, `family`, `not`

error: unknown key `colour` in the match of policy `a`
 --> u.toml:8:43
  |
8 | match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
  |                                           ^^^^^^ no such key
  |
  = hint: known here: `source`, `destination`, `protocol`, `sport`, `dport`, `interface`, `mac`, `dscp`, `mark`, `user`, `group`, `cgroup`, `unit`, `icmp`, `schedule`, `domain`, `family`, `not`

error: unknown key `proto` in the match of policy `a`
 --> u.toml:8:59
  |
8 | match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
  |                                                           ^^^^^ no such key
  |
  = hint: did you mean `protocol`?

error: `not` does not belong in the match of policy `a`
 --> u.toml:8:82
  |
8 | match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
  |                                                                                  ^^^ not here
  |
  = hint: it belongs in [policy.match]

error: unknown key `dprot` in the match of policy `a`
 --> u.toml:8:92
  |
8 | match = { src = "10.0.0.1", prot = "tcp", colour = "red", proto = "udp", not = { not = {}, dprot = 1 } }
  |                                                                                            ^^^^^ no such key
  |
  = hint: did you mean `dport`?
"#);
}

#[test]
fn conditions_that_exclude_each_other() {
    let text = with_two(
        r#"[[policy]]
name = "families"
match = { source = "10.0.0.0/8", destination = ["2001:db8::/32"] }
use = "isp1"
[[policy]]
name = "family"
match = { family = "ipv4", destination = "2001:db8::1" }
use = "isp1"
[[policy]]
name = "not-family"
match = { destination = "10.0.0.1", not = { family = "ipv4" } }
use = "isp1"
[[policy]]
name = "everything-but"
match = { not = { source = ["0.0.0.0/0", "::/0"] } }
use = "isp1"
[[policy]]
name = "icmpv6"
match = { protocol = "icmpv6", source = "10.0.0.1" }
use = "isp1"
[[policy]]
name = "no-ports"
match = { protocol = ["gre", "icmp"], dport = 443 }
use = "isp1"
[[policy]]
name = "only-others"
match = { sport = 443, not = { protocol = ["tcp", "udp", "udplite", "sctp", "dccp"] } }
use = "isp1"
[[policy]]
name = "no-icmp"
match = { protocol = "tcp", icmp = "echo-request" }
use = "isp1"
[[policy]]
name = "icmp-ports"
match = { icmp = 8, dport = 443 }
use = "isp1"
[[policy]]
name = "origins"
match = { interface = "br-lan", user = 0 }
use = "isp1"
[[policy]]
name = "devices"
match = { unit = "a.service", mac = "52:54:00:12:34:56" }
use = "isp1"
[[policy]]
name = "both"
match = { not = { family = ["ipv4", "ipv6"] } }
use = "isp1"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: policy `families` can never match: `source` is IPv4 only and `destination` IPv6 only
 --> u.toml:5:48
  |
5 | match = { source = "10.0.0.0/8", destination = ["2001:db8::/32"] }
  |                    ------------ the other      ^^^^^^^^^^^^^^^^^ never with the other
  |
  = hint: give both of one family, or write two policies

error: policy `family` can never match: `family` is IPv4 only and `destination` IPv6 only
 --> u.toml:9:42
  |
9 | match = { family = "ipv4", destination = "2001:db8::1" }
  |                    ------ the other      ^^^^^^^^^^^^^ never with the other
  |
  = hint: give both of one family, or write two policies

error: policy `not-family` can never match: `destination` is IPv4 only and `family` IPv6 only
  --> u.toml:13:54
   |
13 | match = { destination = "10.0.0.1", not = { family = "ipv4" } }
   |                         ---------- the other         ^^^^^^ never with the other
   |
   = hint: give both of one family, or write two policies

error: policy `everything-but` can never match: `source` excludes every address
  --> u.toml:17:28
   |
17 | match = { not = { source = ["0.0.0.0/0", "::/0"] } }
   |                            ^^^^^^^^^^^^^^^^^^^^^ never
   |
   = hint: narrow what is excluded, or remove the policy

error: policy `icmpv6` can never match: `protocol` is IPv6 only and `source` IPv4 only
  --> u.toml:21:41
   |
21 | match = { protocol = "icmpv6", source = "10.0.0.1" }
   |                      -------- the other ^^^^^^^^^^ never with the other
   |
   = hint: give both of one family, or write two policies

error: policy `no-ports` can never match: `dport` needs a protocol that has ports
  --> u.toml:25:47
   |
25 | match = { protocol = ["gre", "icmp"], dport = 443 }
   |                      ---------------          ^^^ never with the other
   |                      |
   |                      the other
   |
   = hint: protocols with ports are tcp, udp, sctp, dccp and udplite

error: policy `only-others` can never match: `sport` needs a protocol that has ports
  --> u.toml:29:19
   |
29 | match = { sport = 443, not = { protocol = ["tcp", "udp", "udplite", "sctp", "dccp"] } }
   |                   ^^^                     ----------------------------------------- the other
   |                   |
   |                   never with the other
   |
   = hint: protocols with ports are tcp, udp, sctp, dccp and udplite

error: policy `no-icmp` can never match: `icmp` needs protocol icmp
  --> u.toml:33:36
   |
33 | match = { protocol = "tcp", icmp = "echo-request" }
   |                      -----         ^^^^^^^^^^^^^^ never with the other
   |                      |
   |                      the other
   |
   = hint: remove `protocol`: ICMP types speak of ICMP only

error: policy `icmp-ports` can never match: ICMP has no ports
  --> u.toml:37:18
   |
37 | match = { icmp = 8, dport = 443 }
   |                  ^          --- the other
   |                  |
   |                  never with the other
   |
   = hint: write two policies, one for each

error: policy `origins` can never match: `interface` is of traffic from the LAN and `user` of this machine's own
  --> u.toml:41:40
   |
41 | match = { interface = "br-lan", user = 0 }
   |                       --------         ^ never with the other
   |                       |
   |                       the other
   |
   = hint: write two policies, one for each

error: policy `devices` can never match: `mac` is of traffic from the LAN and `unit` of this machine's own
  --> u.toml:45:18
   |
45 | match = { unit = "a.service", mac = "52:54:00:12:34:56" }
   |                  ^^^^^^^^^^^        ------------------- the other
   |                  |
   |                  never with the other
   |
   = hint: write two policies, one for each

error: policy `both` can never match: it excludes both families
  --> u.toml:49:28
   |
49 | match = { not = { family = ["ipv4", "ipv6"] } }
   |                            ^^^^^^^^^^^^^^^^ both
   |
   = hint: keep one of them
"#);
}

#[test]
fn conditions_that_only_look_as_if_they_did() {
    let text = with_two(
        r#"[[policy]]
name = "a"
match = { source = ["10.0.0.0/8", "2001:db8::/32"], destination = ["2001:db8::/32"] }
use = "isp1"
[[policy]]
name = "b"
match = { destination = "2001:db8::1", not = { family = "ipv4", source = "0.0.0.0/0" } }
use = "isp1"
[[policy]]
name = "c"
match = { protocol = ["gre", "tcp"], dport = 443 }
use = "isp1"
[[policy]]
name = "d"
match = { protocol = "icmp", icmp = "packet-too-big", family = "ipv6" }
use = "isp1"
[[policy]]
name = "e"
match = { interface = "br-lan", not = { user = 0 } }
use = "isp1"
[[policy]]
name = "f"
match = { user = 0, not = { interface = "br-lan" } }
use = "isp1"
[[policy]]
name = "g"
match = { family = ["ipv4", "ipv6"], not = { icmp = "echo-request" } }
use = "isp1"
[[policy]]
name = "h"
use = "isp1"
"#,
    );
    insta::assert_snapshot!(shown(&text), @"");
}

#[test]
fn what_excludes_all_that_is_named_leaves_nothing() {
    let text = with_two(
        r#"[[policy]]
name = "nothing"
match = { source = "10.0.0.0/8", not = { source = "0.0.0.0/0" } }
use = "isp1"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: policy `nothing` can never match: `not` leaves nothing of `source`
 --> u.toml:5:51
  |
5 | match = { source = "10.0.0.0/8", not = { source = "0.0.0.0/0" } }
  |                    ------------ the other         ^^^^^^^^^^^ never with the other
  |
  = hint: narrow what is excluded, or remove the policy
"#);
}
