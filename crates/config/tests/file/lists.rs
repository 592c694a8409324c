//! Files of prefixes: which are asked for, what is taken from them, and where their mistakes are.

use std::collections::BTreeMap;

use uplinkd_config::{Draft, Sources, read, to_json};
use uplinkd_model::policy::{Addresses, Selector};

use crate::{shown_with, with_two};

fn sources(files: &[(&str, &str)]) -> Sources {
    let file = |(path, text): &(&str, &str)| ((*path).to_owned(), Ok((*text).to_owned()));
    Sources {
        files: files.iter().map(file).collect(),
        ..Sources::default()
    }
}

fn two_policies() -> String {
    with_two(
        r#"[[policy]]
name = "a"
use = "isp1"
match = { source = { file = "nets.txt" }, destination = ["192.0.2.1", { file = "/etc/more" }] }
[[policy]]
name = "b"
use = "isp2"
match = { destination = { file = "nets.txt" } }
"#,
    )
}

#[test]
fn files_are_looked_for_beside_the_configuration_each_once() {
    let text = two_policies();
    let paths = |draft: &Draft| -> Vec<_> {
        let files = draft.files().iter();
        files.map(|f| (f.path.clone(), f.spans.len())).collect()
    };
    let expected = [("/etc/uplinkd/nets.txt", 2), ("/etc/more", 1)];
    let expected = expected.map(|(path, places)| (path.to_owned(), places));
    let draft = read("/etc/uplinkd/uplinkd.toml", &text);
    assert_eq!(paths(&draft), expected);
    let place = draft.files()[1].spans[0].clone();
    assert_eq!(&text[place], "{ file = \"/etc/more\" }");
    assert_eq!(read("u.toml", &text).files()[0].path, "nets.txt");
}

#[test]
fn who_names_the_same_file_shares_its_numbers() {
    let text = two_policies();
    let nets = "\u{feff}# ours\r\n10.1.2.3/8 # private\r\n\r\n  2001:db8::/32\n10.255.0.0-11.0.0.0";
    let draft = read("u.toml", &text);
    let parsed = draft.check(&sources(&[("nets.txt", nets), ("/etc/more", "")]));
    let parsed = parsed.unwrap();
    assert_eq!(parsed.files(), draft.files());
    let [a, b] = parsed.policies() else {
        panic!("two policies")
    };
    let (Selector::Source(source), Selector::Destination(destination)) =
        (&a.clauses[0].selector, &b.clauses[0].selector)
    else {
        panic!("a source and a destination")
    };
    let starts = |a: &Addresses| (a.v4.as_slice().as_ptr(), a.v6.as_slice().as_ptr());
    assert_eq!(starts(source), starts(destination));
    let spans: Vec<_> = source
        .v4
        .as_slice()
        .iter()
        .map(|s| (s.first, s.last))
        .collect();
    assert_eq!(spans, [(0x0a00_0000, 0x0b00_0000)]);
    assert_eq!(source.v6.as_slice().len(), 1);
    assert_eq!(a.clauses[0].text, "source in nets.txt");
    assert_eq!(a.clauses[1].text, "destination in 192.0.2.1, /etc/more");
}

#[test]
fn an_empty_file_matches_nothing_and_is_no_contradiction() {
    let text = with_two(
        r#"[[policy]]
use = "isp1"
match = { source = { file = "nets.txt" }, destination = "10.0.0.1" }
"#,
    );
    let parsed = read("u.toml", &text).check(&sources(&[("nets.txt", "# none\n")]));
    let parsed = parsed.unwrap();
    let Selector::Source(source) = &parsed.policies()[0].clauses[0].selector else {
        panic!("a source")
    };
    assert_eq!(*source, Addresses::default());
    let files = |clause| parsed.files_of_clause(0, clause).collect::<Vec<_>>();
    assert_eq!(files(0), ["nets.txt"]);
    assert_eq!(files(1), Vec::<&str>::new());
}

#[test]
fn mistakes_in_a_file_have_its_name_and_line() {
    let text = two_policies();
    let nets = "10.0.0.0/8\n  10.0.0.0/40   # too long\n\nexample.org\n";
    let sources = sources(&[("conf/nets.txt", nets), ("/etc/more", "1.2.3.4\t5.6.7.8\n")]);
    insta::assert_snapshot!(shown_with(&text, &sources), @r#"
error: `1.2.3.4\t5.6.7.8` cannot be taken: that is no address, prefix or range
 --> /etc/more:1:1
  |
1 | 1.2.3.4    5.6.7.8
  | ^^^^^^^^^^^^^^^^^^ not taken
  |
 ::: conf/u.toml:6:71
  |
6 | match = { source = { file = "nets.txt" }, destination = ["192.0.2.1", { file = "/etc/more" }] }
  |                                                                       ---------------------- read from here
  |
  = hint: write an address, a prefix such as "10.0.0.0/8" or a range such as "10.0.0.1-10.0.0.9"

error: `10.0.0.0/40` cannot be taken: the length of an IPv4 prefix is 0 to 32
 --> conf/nets.txt:2:3
  |
2 |   10.0.0.0/40   # too long
  |   ^^^^^^^^^^^ not taken
  |
 ::: conf/u.toml:6:20
  |
6 | match = { source = { file = "nets.txt" }, destination = ["192.0.2.1", { file = "/etc/more" }] }
  |                    --------------------- read from here
  |
  = hint: write a length from 0 to 32

error: `example.org` cannot be taken: that is no address, prefix or range
 --> conf/nets.txt:4:1
  |
4 | example.org
  | ^^^^^^^^^^^ not taken
  |
 ::: conf/u.toml:6:20
  |
6 | match = { source = { file = "nets.txt" }, destination = ["192.0.2.1", { file = "/etc/more" }] }
  |                    --------------------- read from here
  |
  = hint: names of hosts go to `domain`; here write an address such as "192.0.2.1"
"#);
    let found = read("conf/u.toml", &text).check(&sources).unwrap_err();
    let json = to_json(&found, "conf/u.toml", &text);
    let place = |i: usize| (&json[i]["file"], &json[i]["line"], &json[i]["column"]);
    assert_eq!(
        place(1),
        (&"conf/nets.txt".into(), &2.into(), &3.into()),
        "{json:#}"
    );
    assert_eq!(json[1]["notes"][0]["line"], 6);
}

#[test]
fn many_mistakes_are_cut_short() {
    let text = with_two("[[policy]]\nuse = \"isp1\"\nmatch.source.file = \"nets.txt\"\n");
    let nets: String = (0..25).map(|i| format!("host-{i}\n")).collect();
    let found = read("u.toml", &text).check(&sources(&[("nets.txt", &nets)]));
    let found = found.unwrap_err();
    assert_eq!(found.len(), 11);
    insta::assert_snapshot!(uplinkd_config::render(&found[..1], "u.toml", &text, false), @r#"
error: 25 lines of `nets.txt` cannot be taken; the first 10 are shown
 --> u.toml:5:7
  |
5 | match.source.file = "nets.txt"
  |       ^^^^^^ read from here
  |
  = hint: a line is an address, a prefix or a range; `#` begins a comment
"#);
}

#[test]
fn a_file_that_cannot_be_read_is_told_once() {
    let text = two_policies();
    let why = "No such file or directory (os error 2)".to_owned();
    let sources = Sources {
        files: BTreeMap::from([("conf/nets.txt".to_owned(), Err(why))]),
        ..Sources::default()
    };
    insta::assert_snapshot!(shown_with(&text, &sources), @r#"
error: cannot read `conf/nets.txt`: No such file or directory (os error 2)
 --> conf/u.toml:6:20
  |
6 | match = { source = { file = "nets.txt" }, destination = ["192.0.2.1", { file = "/etc/more" }] }
  |                    ^^^^^^^^^^^^^^^^^^^^^ names this file
  |
  = hint: paths begin in the folder of this file; an empty file is allowed

error: cannot read `/etc/more`: nobody has read it
 --> conf/u.toml:6:71
  |
6 | match = { source = { file = "nets.txt" }, destination = ["192.0.2.1", { file = "/etc/more" }] }
  |                                                                       ^^^^^^^^^^^^^^^^^^^^^^ names this file
  |
  = hint: paths begin in the folder of this file; an empty file is allowed
"#);
}

#[test]
fn a_file_is_asked_for_in_spite_of_mistakes_elsewhere() {
    let text = format!("colour = 1\n{}", two_policies());
    assert_eq!(read("u.toml", &text).files().len(), 2);
    assert_eq!(read("u.toml", "[").files(), []);
}

#[test]
fn control_characters_of_a_file_never_reach_a_terminal() {
    let text = with_two("[[policy]]\nuse = \"isp1\"\nmatch.source.file = \"nets\\u001b.txt\"\n");
    let sources = sources(&[("conf/nets\u{1b}.txt", "10.0.0.1\u{1b}[2J\n")]);
    let shown = shown_with(&text, &sources);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}
