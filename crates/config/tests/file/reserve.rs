//! What is claimed in the kernel.

use crate::shown;

#[test]
fn numbers_of_others_and_of_the_kernel() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
proto = 16
tables = 255
rule_priority = 0
rule_priority_last = 32667
nexthop_ids = 0
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.proto` cannot be 16: that is the number of dhcp clients
 --> u.toml:4:9
  |
4 | proto = 16
  |         ^^ taken
  |
  = hint: their routes would be taken for ours; choose one that nobody uses, such as 177

error: `reserve.tables` must be 256 to 4294950911, not 255
 --> u.toml:5:10
  |
5 | tables = 255
  |          ^^^ not in 256 to 4294950911
  |
  = hint: 16384 tables are taken from there on; 253 to 255 are the kernel's own

error: `reserve.rule_priority` must be 1 to 32666, not 0
 --> u.toml:6:17
  |
6 | rule_priority = 0
  |                 ^ not in 1 to 32666
  |
  = hint: 100 priorities are taken from there on; rule 0 and those from 32766 are the kernel's own

error: `reserve.rule_priority_last` must be 1 to 32666, not 32667
 --> u.toml:7:22
  |
7 | rule_priority_last = 32667
  |                      ^^^^^ not in 1 to 32666
  |
  = hint: 100 priorities are taken from there on; rule 0 and those from 32766 are the kernel's own

error: `reserve.nexthop_ids` must be 1 to 4293918719, not 0
 --> u.toml:8:15
  |
8 | nexthop_ids = 0
  |               ^ not in 1 to 4293918719
  |
  = hint: 1048576 ids are taken from there on; low ones are given out by other software
"#);
}

#[test]
fn ranges_that_leave_the_numbers() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
proto = 256
tables = 0xffffffff
rule_priority = -5
rule_priority_last = 32767
nexthop_ids = 4294967295
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.proto` must be 5 to 255, not 256
 --> u.toml:4:9
  |
4 | proto = 256
  |         ^^^ not in 5 to 255
  |
  = hint: 0 to 4 mean something to the kernel and to `ip`; 177 is the default

error: `reserve.tables` must be 256 to 4294950911, not 4294967295
 --> u.toml:5:10
  |
5 | tables = 0xffffffff
  |          ^^^^^^^^^^ not in 256 to 4294950911
  |
  = hint: 16384 tables are taken from there on; 253 to 255 are the kernel's own

error: `reserve.rule_priority` must be 1 to 32666, not -5
 --> u.toml:6:17
  |
6 | rule_priority = -5
  |                 ^^ not in 1 to 32666
  |
  = hint: 100 priorities are taken from there on; rule 0 and those from 32766 are the kernel's own

error: `reserve.rule_priority_last` must be 1 to 32666, not 32767
 --> u.toml:7:22
  |
7 | rule_priority_last = 32767
  |                      ^^^^^ not in 1 to 32666
  |
  = hint: 100 priorities are taken from there on; rule 0 and those from 32766 are the kernel's own

error: `reserve.nexthop_ids` must be 1 to 4293918719, not 4294967295
 --> u.toml:8:15
  |
8 | nexthop_ids = 4294967295
  |               ^^^^^^^^^^ not in 1 to 4293918719
  |
  = hint: 1048576 ids are taken from there on; low ones are given out by other software
"#);
}

#[test]
fn ranges_of_priorities_that_overlap() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
rule_priority = 5000
rule_priority_last = 5099
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the priorities from 5000 and from 5099 overlap: each range has 100 of them
 --> u.toml:4:17
  |
4 | rule_priority = 5000
  |                 ^^^^ too near, or on the wrong side
5 | rule_priority_last = 5099
  |                      ---- the other one
  |
  = hint: let `rule_priority_last` lie 100 or more above `rule_priority`
"#);
}

#[test]
fn priorities_in_the_wrong_order() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
rule_priority_last = 1000
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.rule_priority` 2000 lies behind `reserve.rule_priority_last` 1000
 --> u.toml:4:22
  |
4 | rule_priority_last = 1000
  |                      ^^^^ too near, or on the wrong side
  |
  = hint: let `rule_priority_last` lie 100 or more above `rule_priority`
"#);
}

#[test]
fn a_mask_with_gaps() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
mark_mask = "0xff0000ff"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.mark_mask` is not usable: the bits of 0xff0000ff do not stand side by side
 --> u.toml:4:13
  |
4 | mark_mask = "0xff0000ff"
  |             ^^^^^^^^^^^^ needs one run of 4 bits or more
  |
  = hint: write a mask such as "0xff000000" (room for 7 uplinks and 15 places that policies lead to) or "0x00fff000" (31 and 63)
"#);
}

#[test]
fn a_mask_of_too_few_bits() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
mark_mask = 0x7
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.mark_mask` is not usable: 0x00000007 has fewer than 4 bits
 --> u.toml:4:13
  |
4 | mark_mask = 0x7
  |             ^^^ needs one run of 4 bits or more
  |
  = hint: write a mask such as "0xff000000" (room for 7 uplinks and 15 places that policies lead to) or "0x00fff000" (31 and 63)
"#);
}

#[test]
fn a_mask_of_too_many_bits() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
mark_mask = "0x1ff000000"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.mark_mask` is not usable: 8573157376 does not fit into 32 bits
 --> u.toml:4:13
  |
4 | mark_mask = "0x1ff000000"
  |             ^^^^^^^^^^^^^ needs one run of 4 bits or more
  |
  = hint: write a mask such as "0xff000000" (room for 7 uplinks and 15 places that policies lead to) or "0x00fff000" (31 and 63)
"#);
}

#[test]
fn a_mask_that_is_no_number() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
mark_mask = "top byte"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `mark_mask` in [reserve] is text, not a number in hexadecimal
 --> u.toml:4:13
  |
4 | mark_mask = "top byte"
  |             ^^^^^^^^^^ expected a number in hexadecimal
  |
  = hint: write for example `mark_mask = "0xff000000"`
"#);
}

#[test]
fn more_uplinks_than_the_mask_has_room_for() {
    let text = r#"uplink.d.interface = "d0"
uplink.c.interface = "c0"
uplink.b.interface = "b0"
uplink.a.interface = "a0"
reserve.mark_mask = "0xf0"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: 4 uplinks are too many: 2 bits of mark mask 0x000000f0 have room for 3
 --> u.toml:4:8
  |
4 | uplink.a.interface = "a0"
  |        ^ uplink number 4
5 | reserve.mark_mask = "0xf0"
  |                     ------ the mask
  |
  = hint: widen the mask, such as `reserve.mark_mask = "0xffff0000"` (room for 127)
"#);
}

#[test]
fn an_nft_table_with_a_name_that_nft_does_not_take() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
nft_table = "9uplinkd"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.nft_table` cannot be `9uplinkd`: a letter first, then letters, digits, `_` and `-`, at most 64
 --> u.toml:4:13
  |
4 | nft_table = "9uplinkd"
  |             ^^^^^^^^^^ not a name that nft takes
  |
  = hint: choose a name that nobody else uses, such as "uplinkd"
"#);
}

#[test]
fn an_nft_table_with_a_keyword_for_a_name() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
nft_table = "inet"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.nft_table` cannot be `inet`: the word means something else to nft
 --> u.toml:4:13
  |
4 | nft_table = "inet"
  |             ^^^^^^ a keyword
  |
  = hint: choose a name that nobody else uses, such as "uplinkd"
"#);
}

#[test]
fn an_nft_table_of_other_software() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
nft_table = "filter"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.nft_table` cannot be `filter`: other software uses that table, and would lose what is in it
 --> u.toml:4:13
  |
4 | nft_table = "filter"
  |             ^^^^^^^^ taken
  |
  = hint: choose a name that nobody else uses, such as "uplinkd"
"#);
}

#[test]
fn bits_for_uplinks_that_leave_none_for_the_rest() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
mark_mask = 0xf0
mark_uplink_bits = 3
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.mark_uplink_bits` 3 leaves too little of mark mask 0x000000f0
 --> u.toml:5:20
  |
5 | mark_uplink_bits = 3
  |                    ^ at most 2 with this mask
  |
  = hint: one bit is for connections from outside and one or more for where policies lead; widen `reserve.mark_mask`
"#);
    let text = "uplink.a.interface = \"a0\"\nreserve.mark_uplink_bits = 0\n";
    insta::assert_snapshot!(shown(text), @r#"
error: `reserve.mark_uplink_bits` must be 1 to 12, not 0
 --> u.toml:2:28
  |
2 | reserve.mark_uplink_bits = 0
  |                            ^ not in 1 to 12
  |
  = hint: 3 bits number 7 uplinks, 4 bits 15
"#);
}

#[test]
fn more_uplinks_than_bits_where_the_mask_has_more() {
    let uplinks: String = (1..=8)
        .map(|i| format!("uplink.u{i}.interface = \"e{i}\"\n"))
        .collect();
    insta::assert_snapshot!(shown(&uplinks), @r#"
error: 8 uplinks are too many: 3 bits of mark mask 0xff000000 have room for 7
 --> u.toml:8:8
  |
8 | uplink.u8.interface = "e8"
  |        ^^ uplink number 8
  |
  = hint: set `reserve.mark_uplink_bits = 4`; policies then have fewer bits for where they lead
"#);
}
