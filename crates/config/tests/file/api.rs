//! `[api]`: groups, and where TCP is listened for.

use std::{collections::BTreeMap, path::Path};

use uplinkd_config::{Api, Group, Sources};

use crate::{shown_with, with_two};

fn sources() -> Sources {
    Sources {
        groups: BTreeMap::from([("adm".to_owned(), 4), ("nogroup".to_owned(), 65534)]),
        ..Sources::default()
    }
}

fn api(rest: &str) -> Api {
    let text = with_two(&format!("[api]\n{rest}"));
    let parsed = uplinkd_config::read("conf/u.toml", &text).check(&sources());
    parsed.unwrap().api().clone()
}

#[test]
fn groups_are_known_by_name_and_number_and_the_file_lies_beside_the_configuration() {
    let api = api(
        "read_group = \"adm\"\nchange_group = \"990\"\nlisten = \"[::1]:8177\"\ntoken_file = \"tokens\"\n",
    );
    let group = |name: &str, id| {
        Some(Group {
            name: name.to_owned(),
            id,
        })
    };
    assert_eq!(api.read_group, group("adm", 4));
    assert_eq!(api.change_group, group("990", 990));
    assert_eq!(api.listen, Some("[::1]:8177".parse().unwrap()));
    assert_eq!(api.token_file.as_deref(), Some(Path::new("conf/tokens")));
    let whole = self::api("listen = \"localhost:80\"\ntoken_file = \"/etc/t\"\n");
    assert_eq!(whole.listen, Some("127.0.0.1:80".parse().unwrap()));
    assert_eq!(whole.token_file.as_deref(), Some(Path::new("/etc/t")));
    assert_eq!(self::api(""), Api::default());
}

#[test]
fn what_would_open_the_door_to_strangers_is_refused_with_the_way_round() {
    let shown = |rest: &str| shown_with(&with_two(&format!("[api]\n{rest}\n")), &sources());
    for (rest, words) in [
        ("listen = \"127.0.0.1:8177\"", "needs a `token_file`"),
        (
            "listen = \"0.0.0.0:8177\"\ntoken_file = \"t\"",
            "go by `ssh -L`",
        ),
        (
            "listen = \"[::]:8177\"\ntoken_file = \"t\"",
            "other machines could ask there",
        ),
        (
            "listen = \"192.168.1.1:1\"\ntoken_file = \"t\"",
            "other machines could ask there",
        ),
        (
            "listen = \"127.0.0.1\"\ntoken_file = \"t\"",
            "no address with a port",
        ),
        (
            "listen = \"127.0.0.1:0\"\ntoken_file = \"t\"",
            "port 0 is none",
        ),
        ("token_file = \"t\"", "has nothing to guard"),
        ("read_group = \"amd\"", "did you mean \"adm\"?"),
        ("change_group = \"netadmin\"", "make it with `groupadd`"),
        ("change_group = \"nogroup\"", "cannot be group 65534"),
    ] {
        let shown = shown(rest);
        assert!(shown.contains(words), "{rest}\n{shown}");
    }
}
