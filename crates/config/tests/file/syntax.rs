//! Mistakes in the TOML itself.

use crate::shown;

#[test]
fn a_second_uplink_of_one_name_points_at_the_first() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth2"

[uplink.isp1]
interface = "eth1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: uplink `isp1` is defined twice
 --> u.toml:6:9
  |
1 | [uplink.isp1]
  |         ---- first here
...
6 | [uplink.isp1]
  |         ^^^^ again here
  |
  = hint: give one of them another name, or make one table of both
"#);
}

#[test]
fn a_second_table_of_one_name_points_at_the_first() {
    let text = r#"[uplink.isp1]
interface = "eth1"
[reserve]
proto = 177
[reserve]
tables = 7000
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: table `[reserve]` is defined twice
 --> u.toml:5:2
  |
3 | [reserve]
  |  ------- first here
4 | proto = 177
5 | [reserve]
  |  ^^^^^^^ again here
  |
  = hint: make one table of both
"#);
}

#[test]
fn a_key_set_twice_points_at_the_first() {
    let text = r#"[uplink.isp1]
interface = "eth1"
weight = 1
weight = 2
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: key `weight` is set twice
 --> u.toml:4:1
  |
3 | weight = 1
  | ------ first here
4 | weight = 2
  | ^^^^^^ again here
  |
  = hint: keep one of them
"#);
}

#[test]
fn several_slips_are_reported_at_once() {
    let text = "lan = [br-lan]
[uplink.isp1]
interface = eth1
weight =
[uplink.isp 2]
";
    insta::assert_snapshot!(shown(text), @r#"
error: text must stand in quotes: `br-lan`
 --> u.toml:1:8
  |
1 | lan = [br-lan]
  |        ^^^^^^ not in quotes
  |
  = hint: write "br-lan"

error: text must stand in quotes: `eth1`
 --> u.toml:3:13
  |
3 | interface = eth1
  |             ^^^^ not in quotes
  |
  = hint: write "eth1"

error: a value is missing after `=`
 --> u.toml:4:9
  |
4 | weight =
  |         ^ expected a value
  |
  = hint: give a value, or remove the line for the default

error: the closing `]` of a table's header is missing
 --> u.toml:5:12
  |
5 | [uplink.isp 2]
  |            ^ expected `]`
  |
  = hint: names in headers have no spaces: `[uplink.isp1]`
"#);
}

#[test]
fn a_bracket_that_is_never_closed_hides_what_it_swallows() {
    let text = r#"lan = ["br-lan"
[uplink.isp1]
interface = "eth1"
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: a bracket is opened and never closed
 --> u.toml:1:7
  |
1 | lan = ["br-lan"
  |       ^ opened here
  |
  = hint: close it with `]`
"#);
}

#[test]
fn a_quote_that_is_never_closed() {
    let text = r#"[uplink.isp1]
interface = "eth1
weight = 3
"#;
    insta::assert_snapshot!(shown(text), @r#"
error: the closing quote is missing
 --> u.toml:2:18
  |
2 | interface = "eth1
  |                  ^ the text does not end
  |
  = hint: close the quotes on the same line
"#);
}

#[test]
fn lines_that_are_no_toml_at_all() {
    let text = "uplink isp1 {
  interface eth1;
}
";
    insta::assert_snapshot!(shown(text), @r#"
error: not valid TOML: key with no value, expected `=`
 --> u.toml:1:8
  |
1 | uplink isp1 {
  |        ^ here
  |
  = hint: a line is `key = value`, `[table]` or `# comment`

error: not valid TOML: key with no value, expected `=`
 --> u.toml:2:13
  |
2 |   interface eth1;
  |             ^ here
  |
  = hint: a line is `key = value`, `[table]` or `# comment`

error: not valid TOML: invalid key-value pair, expected key
 --> u.toml:3:1
  |
3 | }
  | ^ here
  |
  = hint: a line is `key = value`, `[table]` or `# comment`
"#);
}

#[test]
fn crlf_and_multibyte_text_keep_the_place_right() {
    let text = "# Größe ✓\r\n\
         [uplink.isp1]\r\n\
         interface = \"eth1\"\r\n\
         \r\n\
         weight = \"ü\"  # ✓\r\n\
         ";
    insta::assert_snapshot!(shown(text), @r#"
error: the weight of uplink `isp1` cannot be `ü`
 --> u.toml:5:10
  |
5 | weight = "ü"  # ✓
  |          ^^^ no such word
  |
  = hint: write "auto" or a number
"#);
}
