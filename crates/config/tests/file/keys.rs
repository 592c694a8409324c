//! Keys that are unknown, misplaced, missing, not known yet, or of a wrong type.

use crate::shown;

#[test]
fn a_slip_of_the_pen_is_recognised() {
    let text = r#"[uplnk.isp1]
interfce = "eth1"
[uplink.isp1]
interface = "eth1"
wieght = 3
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: unknown key `uplnk` at the top of the file
 --> u.toml:1:2
  |
1 | [uplnk.isp1]
  |  ^^^^^ no such key
  |
  = hint: did you mean `uplink`?

error: unknown key `wieght` in [uplink.isp1]
 --> u.toml:5:1
  |
5 | wieght = 3
  | ^^^^^^ no such key
  |
  = hint: did you mean `weight`?
"#);
}

#[test]
fn words_of_other_software_are_recognised() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[wan.isp2]
device = "eth2"
[uplink.isp1.probe]
track_ip = ["1.1.1.1"]
reliability = 1
up = 5
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: unknown key `wan` at the top of the file
 --> u.toml:3:2
  |
3 | [wan.isp2]
  |  ^^^ no such key
  |
  = hint: did you mean `uplink`?

error: unknown key `track_ip` in [uplink.isp1.probe]
 --> u.toml:6:1
  |
6 | track_ip = ["1.1.1.1"]
  | ^^^^^^^^ no such key
  |
  = hint: did you mean `targets`?

error: unknown key `reliability` in [uplink.isp1.probe]
 --> u.toml:7:1
  |
7 | reliability = 1
  | ^^^^^^^^^^^ no such key
  |
  = hint: did you mean `quorum`?

error: unknown key `up` in [uplink.isp1.probe]
 --> u.toml:8:1
  |
8 | up = 5
  | ^^ no such key
  |
  = hint: did you mean `rise`?
"#);
}

#[test]
fn an_unknown_key_lists_the_known_ones() {
    let text = r#"[uplink.isp1]
interface = "eth1"
colour = "red"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: unknown key `colour` in [uplink.isp1]
 --> u.toml:3:1
  |
3 | colour = "red"
  | ^^^^^^ no such key
  |
  = hint: known here: `interface`, `weight`, `rate`, `budget`, `on_degraded`, `ipv4`, `ipv6`, `probe`
"#);
}

#[test]
fn keys_of_later_versions_say_so() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[group.calls]
tiers = [["isp1"]]
on_degraded = "avoid"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: this version does not know `on_degraded` in [group.calls] yet
 --> u.toml:5:1
  |
5 | on_degraded = "avoid"
  | ^^^^^^^^^^^ comes with a later version
  |
  = hint: remove it or comment it out until then
"#);
}

#[test]
fn misplaced_keys_are_told_their_place() {
    let text = r#"[uplink.isp1]
interface = "eth1"
gateway = "auto"
lan = ["br-lan"]
quorum = 1
[uplink.isp1.ipv4]
mark_mask = 0xff
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `gateway` does not belong in [uplink.isp1]
 --> u.toml:3:1
  |
3 | gateway = "auto"
  | ^^^^^^^ not here
  |
  = hint: it belongs in [uplink.isp1.ipv4] or in [uplink.isp1.ipv6]

error: `lan` does not belong in [uplink.isp1]
 --> u.toml:4:1
  |
4 | lan = ["br-lan"]
  | ^^^ not here
  |
  = hint: it belongs at the top of the file, before the first table

error: `quorum` does not belong in [uplink.isp1]
 --> u.toml:5:1
  |
5 | quorum = 1
  | ^^^^^^ not here
  |
  = hint: it belongs in [uplink.isp1.probe] or in [probe]

error: `mark_mask` does not belong in [uplink.isp1.ipv4]
 --> u.toml:7:1
  |
7 | mark_mask = 0xff
  | ^^^^^^^^^ not here
  |
  = hint: it belongs in [reserve]
"#);
}

#[test]
fn types_are_checked_with_an_example() {
    let text = r#"lan = "br-lan"
probe = 3
reserve = { proto = "177", mark_mask = true, nft_table = 1 }
[uplink.isp1]
interface = ["eth1"]
weight = "3"
ipv4 = "auto"
[uplink.isp1.probe]
targets = "gateway"
rise = 1.5
interval = 500
[uplink.isp2]
interface = "eth2"
weight = 1979-05-27
probe.targets = ["gateway", 1]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `lan` at the top of the file is text, not a list of texts
 --> u.toml:1:7
  |
1 | lan = "br-lan"
  |       ^^^^^^^^ expected a list of texts
  |
  = hint: write `lan = ["br-lan"]`

error: `probe` at the top of the file is a number, not a table
 --> u.toml:2:9
  |
2 | probe = 3
  |         ^ expected a table
  |
  = hint: write `[probe]`, and its keys below it

error: `proto` in [reserve] is text, not a whole number
 --> u.toml:3:21
  |
3 | reserve = { proto = "177", mark_mask = true, nft_table = 1 }
  |                     ^^^^^ expected a whole number
  |
  = hint: write `proto = 177`, without quotes

error: `mark_mask` in [reserve] is true or false, not a number in hexadecimal
 --> u.toml:3:40
  |
3 | reserve = { proto = "177", mark_mask = true, nft_table = 1 }
  |                                        ^^^^ expected a number in hexadecimal
  |
  = hint: write for example `mark_mask = "0xff000000"`

error: `nft_table` in [reserve] is a number, not text in quotes
 --> u.toml:3:58
  |
3 | reserve = { proto = "177", mark_mask = true, nft_table = 1 }
  |                                                          ^ expected text in quotes
  |
  = hint: write for example `nft_table = "uplinkd"`

error: `interface` in [uplink.isp1] is a list, not text in quotes
 --> u.toml:5:13
  |
5 | interface = ["eth1"]
  |             ^^^^^^^^ expected text in quotes
  |
  = hint: write for example `interface = "eth1"`

error: `weight` in [uplink.isp1] is text, not a whole number
 --> u.toml:6:10
  |
6 | weight = "3"
  |          ^^^ expected a whole number
  |
  = hint: write `weight = 3`, without quotes

error: `ipv4` in [uplink.isp1] is text, not a table
 --> u.toml:7:8
  |
7 | ipv4 = "auto"
  |        ^^^^^^ expected a table
  |
  = hint: write `[uplink.isp1.ipv4]`, and its keys below it

error: `targets` in [uplink.isp1.probe] is text, not a list of texts
 --> u.toml:9:11
  |
9 | targets = "gateway"
  |           ^^^^^^^^^ expected a list of texts
  |
  = hint: write `targets = ["gateway"]`

error: `rise` in [uplink.isp1.probe] is a number with a fraction, not a whole number
  --> u.toml:10:8
   |
10 | rise = 1.5
   |        ^^^ expected a whole number
   |
   = hint: write for example `rise = 5`

error: `interval` in [uplink.isp1.probe] is a number, not text in quotes
  --> u.toml:11:12
   |
11 | interval = 500
   |            ^^^ expected text in quotes
   |
   = hint: write for example `interval = "1s"`

error: `weight` in [uplink.isp2] is a date, not a whole number
  --> u.toml:14:10
   |
14 | weight = 1979-05-27
   |          ^^^^^^^^^^ expected a whole number
   |
   = hint: write for example `weight = 1`

error: an entry of `targets` in [uplink.isp2.probe] is a number, not text in quotes
  --> u.toml:15:29
   |
15 | probe.targets = ["gateway", 1]
   |                             ^ expected text in quotes
   |
   = hint: write for example `targets = ["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8"]`
"#);
}

#[test]
fn uplinks_without_a_name_are_explained() {
    let text = r#"[uplink]
interface = "eth1"
other = 3
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `interface` in [uplink] is text, not an uplink
 --> u.toml:2:13
  |
2 | interface = "eth1"
  |             ^^^^^^ expected a table
  |
  = hint: every uplink has a name: write `[uplink.isp1]` instead of `[uplink]`

error: `other` in [uplink] is a number, not an uplink
 --> u.toml:3:9
  |
3 | other = 3
  |         ^ expected a table
  |
  = hint: write `[uplink.NAME]`, and `interface = "eth1"` below it
"#);
}

#[test]
fn uplinks_as_a_list_are_explained() {
    let text = r#"[[uplink]]
name = "isp1"
interface = "eth1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: `uplink` at the top of the file is a list, not a table
 --> u.toml:1:1
  |
1 | [[uplink]]
  | ^^^^^^^^^^ expected a table
  |
  = hint: write a table for each uplink: `[uplink.isp1]`
"#);
}

#[test]
fn a_missing_interface_is_the_only_required_key() {
    let text = "[uplink.isp1]
";
    insta::assert_snapshot!(shown(text), @r#"
error: uplink `isp1` has no interface
 --> u.toml:1:9
  |
1 | [uplink.isp1]
  |         ^^^^ `interface` is missing
  |
  = hint: add `interface = "eth1"`, with the interface that leads to the provider
"#);
}

#[test]
fn an_empty_file_has_no_uplinks() {
    let text = "";
    insta::assert_snapshot!(shown(text), @r#"
error: the file has no uplinks
 --> u.toml:1:1
  |
1 |
  | ^ no `[uplink.NAME]` in this file
  |
  = hint: add one for each provider: `[uplink.isp1]`, and `interface = "eth1"` below it
"#);
}

#[test]
fn an_empty_uplink_table_has_no_uplinks() {
    let text = r#"lan = ["br-lan"]
[uplink]
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the file has no uplinks
 --> u.toml:2:2
  |
2 | [uplink]
  |  ^^^^^^ no `[uplink.NAME]` in this file
  |
  = hint: add one for each provider: `[uplink.isp1]`, and `interface = "eth1"` below it
"#);
}

#[test]
fn a_key_of_an_uplink_in_another_table_is_told_its_place() {
    let text = "[uplink.isp1]\ninterface = \"eth1\"\n[probe]\nbudget = \"1GB\"\n";
    insta::assert_snapshot!(shown(text), @r#"
error: `budget` does not belong in [probe]
 --> u.toml:4:1
  |
4 | budget = "1GB"
  | ^^^^^^ not here
  |
  = hint: it belongs in [uplink.NAME]
"#);
}
