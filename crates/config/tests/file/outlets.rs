//! Where policies lead: outlets that they share, their names and lasting codes.

use uplinkd_config::{OutletCodes, Parsed, Slots, parse};
use uplinkd_model::{
    Config, OutletKind,
    policy::{End, Outflow},
};

use crate::{shown, with_two};

const GROUPS: &str = r#"[group.calls]
tiers = [["isp1"], ["isp2"]]
failback = { after = "60s" }
[group.cheap]
tiers = [["isp2", "isp1"]]
sticky = "source"
"#;

/// Groups, and one policy for each pair of `use` and `otherwise`.
fn leading(pairs: &[(&str, &str)]) -> Parsed {
    let policies = pairs.iter().map(|(to, otherwise)| match *otherwise {
        "" => format!("[[policy]]\nuse = \"{to}\"\n"),
        otherwise => format!("[[policy]]\nuse = \"{to}\"\notherwise = \"{otherwise}\"\n"),
    });
    let text = with_two(&format!("{GROUPS}{}", policies.collect::<String>()));
    parse("u.toml", &text).unwrap()
}

fn config(parsed: &Parsed, codes: &OutletCodes) -> Config {
    parsed.to_config(&Slots::default(), codes)
}

fn outflow(config: &Config, name: &str) -> Outflow {
    let outlet = config.outlets.iter().find(|o| o.name == name).unwrap();
    outlet.outflow().unwrap().clone()
}

/// Members by tier, with the tier's group and rank.
fn tiers(outflow: &Outflow) -> Vec<String> {
    let tier = |t: &uplinkd_model::policy::OutletTier| {
        let members: Vec<_> = t.members.iter().map(|m| m.uplink.as_str()).collect();
        let group = t.group.as_deref().unwrap_or("-");
        format!("{group}/{}: {}", t.rank, members.join(" "))
    };
    outflow.tiers.iter().map(tier).collect()
}

#[test]
fn policies_that_lead_to_the_same_share_an_outlet() {
    let parsed = leading(&[
        ("calls", ""),
        ("isp2", "block"),
        ("calls", "default"),
        ("default", ""),
        ("calls", "cheap"),
        ("block", ""),
        ("main", ""),
        ("isp2", ""),
        ("isp2", "block"),
        ("default", "block"),
    ]);
    let config = config(&parsed, &OutletCodes::default());
    let outlets: Vec<_> = config
        .outlets
        .iter()
        .map(|o| (o.code, o.name.as_str()))
        .collect();
    assert_eq!(
        outlets,
        [
            (0, "default"),
            (1, "calls"),
            (2, "isp2-or-block"),
            (3, "calls-or-cheap"),
            (4, "block"),
            (5, "main"),
            (6, "isp2"),
            (7, "default-or-block"),
        ]
    );
    let leads: Vec<_> = config.policies.iter().map(|p| p.outlet).collect();
    assert_eq!(leads, [1, 2, 1, 0, 3, 4, 5, 6, 2, 7]);
    assert_eq!(config.outlets[4].kind, OutletKind::Block);
    assert_eq!(config.outlets[5].kind, OutletKind::Main);
}

#[test]
fn an_outlet_is_the_tiers_of_both_and_what_comes_after_them() {
    let parsed = leading(&[
        ("calls", "cheap"),
        ("isp2", "isp1"),
        ("isp1", "block"),
        ("default", "block"),
        ("cheap", ""),
    ]);
    let config = config(&parsed, &OutletCodes::default());
    let default = outflow(&config, "default");
    assert_eq!(tiers(&default), ["default/1: isp1 isp2"]);
    assert_eq!(default.end, End::Keep);
    let both = outflow(&config, "calls-or-cheap");
    assert_eq!(
        tiers(&both),
        ["calls/1: isp1", "calls/2: isp2", "cheap/1: isp2 isp1"]
    );
    assert_eq!(
        (both.group.as_deref(), both.end),
        (Some("calls"), End::Default)
    );
    assert_eq!(both.failback, config.groups[1].failback);
    assert_eq!(both.sticky, None);
    let uplinks = outflow(&config, "isp2-or-isp1");
    assert_eq!(tiers(&uplinks), ["-/1: isp2", "-/1: isp1"]);
    assert_eq!((uplinks.group, uplinks.end), (None, End::Default));
    assert_eq!(outflow(&config, "isp1-or-block").end, End::Block);
    assert_eq!(outflow(&config, "default-or-block").end, End::Block);
    assert!(outflow(&config, "cheap").sticky.is_some());
}

#[test]
fn codes_last_whatever_comes_and_goes() {
    let mut slots = Slots::default();
    let mut codes = OutletCodes::default();
    let before = leading(&[("calls", ""), ("isp2", "block"), ("cheap", "")]);
    before.allocate(&mut slots, &mut codes).unwrap();
    let after = leading(&[("block", ""), ("cheap", ""), ("calls", "")]);
    after.allocate(&mut slots, &mut codes).unwrap();
    let config = config(&after, &codes);
    let codes: Vec<_> = config
        .outlets
        .iter()
        .map(|o| (o.name.as_str(), o.code))
        .collect();
    assert_eq!(
        codes,
        [("default", 0), ("block", 4), ("cheap", 3), ("calls", 1)]
    );
}

#[test]
fn names_of_outlets_that_would_be_the_same() {
    let text = with_two(
        r#"[group.a]
tiers = [["isp1"]]
[group.b-or-c]
tiers = [["isp1"]]
[group.a-or-b]
tiers = [["isp1"]]
[group.c]
tiers = [["isp1"]]
[group.isp2-or-block]
tiers = [["isp1"]]
[[policy]]
name = "x"
use = "a"
otherwise = "b-or-c"
[[policy]]
name = "y"
use = "a-or-b"
otherwise = "c"
[[policy]]
name = "z"
use = "isp2"
otherwise = "block"
"#,
    );
    insta::assert_snapshot!(shown(&text), @r#"
error: where policy `y` leads would be called `a-or-b-or-c`, and something else is called so
  --> u.toml:18:8
   |
18 | name = "y"
   |        ^^^ leads to two names in one
   |
   = hint: rename the group or uplink that has `-or-` in its name

error: where policy `z` leads would be called `isp2-or-block`, and something else is called so
  --> u.toml:22:8
   |
11 | [group.isp2-or-block]
   |        ------------- called so
...
22 | name = "z"
   |        ^^^ leads to two names in one
   |
   = hint: rename the group or uplink that has `-or-` in its name
"#);
}

#[test]
fn more_outlets_than_the_mask_has_room_for() {
    let groups = |n: usize| {
        let group = |i| format!("group.g{i}.tiers = [[\"isp1\"]]\n");
        let policy = |i| format!("[[policy]]\nuse = \"g{i}\"\n");
        let groups: String = (1..=n).map(group).collect();
        format!("{groups}{}", (1..=n).map(policy).collect::<String>())
    };
    insta::assert_snapshot!(shown(&with_two(&groups(15))), @"");
    insta::assert_snapshot!(shown(&with_two(&groups(16))), @r#"
error: policies lead to 16 different places, and mark mask 0xff000000 has room for 15
  --> u.toml:50:7
   |
50 | use = "g16"
   |       ^^^^^ number 16
   |
   = hint: set `reserve.mark_uplink_bits = 2`, or widen the mask: `reserve.mark_mask = "0xffff0000"`
"#);
    let narrow = format!("reserve.mark_mask = 0xf00\n{}", with_two(&groups(4)));
    insta::assert_snapshot!(shown(&narrow), @r#"
error: policies lead to 4 different places, and mark mask 0x00000f00 has room for 1
  --> u.toml:11:7
   |
 1 | reserve.mark_mask = 0xf00
   |                     ----- the mask
...
11 | use = "g2"
   |       ^^^^ number 2
   |
   = hint: widen the mask, such as `reserve.mark_mask = "0xffff0000"` (room for 255), or let more policies share their `use` and `otherwise`
"#);
}

#[test]
fn what_is_proposed_for_more_outlets_is_not_there_already_and_helps() {
    let hint = |reserve: &str, groups: usize| {
        let group = |i| format!("group.g{i}.tiers = [[\"isp1\"]]\n");
        let policy = |i| format!("[[policy]]\nuse = \"g{i}\"\n");
        let head: String = (1..=groups).map(group).collect();
        let tail: String = (1..=groups).map(policy).collect();
        let found = shown(&with_two(&format!("{head}{tail}[reserve]\n{reserve}\n")));
        let hint = found.split("hint: ").nth(1).expect("a hint").trim();
        hint.to_owned()
    };
    const SHARE: &str = "let more policies share their `use` and `otherwise`";
    let wide = "mark_mask = \"0xffff0000\"\n";
    assert_eq!(
        hint(&format!("{wide}mark_uplink_bits = 12"), 8),
        format!("set `reserve.mark_uplink_bits = 2`, or {SHARE}")
    );
    assert_eq!(
        hint("mark_mask = 0xf0000000\nmark_uplink_bits = 2", 3000),
        format!(
            "widen the mask, such as `reserve.mark_mask = \"0xffff0000\"` (room for 8191), or {SHARE}"
        )
    );
    assert_eq!(
        hint("mark_uplink_bits = 6", 600),
        format!(
            "set `reserve.mark_mask = \"0xffff0000\"` and `reserve.mark_uplink_bits = 2`, both, or {SHARE}"
        )
    );
    assert_eq!(hint(&format!("{wide}mark_uplink_bits = 2"), 8200), SHARE);
}
