//! What groups, policies and their conditions mean, and how conditions read.

use std::{collections::BTreeMap, time::Duration};

use uplinkd_config::{Parsed, Sources, read};
use uplinkd_model::{
    Family, Mark,
    policy::{
        Clause, Failback, FailbackFlows, FailbackWhen, PolicyFlows, Selector, Span, Spans, Sticky,
        StickyBy,
    },
};

use crate::with_two;

fn good(rest: &str) -> Parsed {
    let text = with_two(rest);
    let sources = Sources {
        users: BTreeMap::from([("backup".to_owned(), 34)]),
        groups: BTreeMap::from([("adm".to_owned(), 4)]),
        ..Sources::default()
    };
    match read("u.toml", &text).check(&sources) {
        Ok(parsed) => parsed,
        Err(found) => panic!("{}", uplinkd_config::render(&found, "u.toml", &text, false)),
    }
}

/// The clauses of one policy with these conditions.
fn clauses(conditions: &str) -> Vec<Clause> {
    let parsed = good(&format!(
        "[[policy]]\nname = \"p\"\nuse = \"isp1\"\n[policy.match]\n{conditions}\n"
    ));
    parsed.policies()[0].clauses.clone()
}

fn clause(condition: &str) -> Clause {
    let clauses = clauses(condition);
    let [clause] = &clauses[..] else {
        panic!("one clause")
    };
    clause.clone()
}

fn text(condition: &str) -> String {
    clause(condition).text
}

fn spans(pairs: &[(u128, u128)]) -> Spans {
    Spans::new(pairs.iter().map(|(a, b)| Span::new(*a, *b)))
}

#[test]
fn tiers_have_the_weights_of_their_members_or_of_the_uplinks() {
    let parsed = good(
        r#"uplink.isp1.weight = 3
[group.a]
tiers = [[{ uplink = "isp1", weight = 9 }, "isp2"]]
"#,
    );
    let groups: Vec<_> = parsed
        .groups()
        .iter()
        .map(|g| {
            let member = |m: &uplinkd_model::Member| format!("{}*{}", m.uplink, m.weight);
            let tier = |t: &Vec<_>| t.iter().map(member).collect::<Vec<_>>().join("+");
            (
                g.name.as_str(),
                g.tiers.iter().map(tier).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        groups,
        [
            ("default", vec!["isp1*3+isp2*1".to_owned()]),
            ("a", vec!["isp1*9+isp2*1".to_owned()])
        ]
    );
}

#[test]
fn the_default_group_can_be_written_and_still_comes_first() {
    let parsed = good(
        r#"[group.a]
tiers = [["isp1"]]
[group.default]
tiers = [["isp2"], ["isp1"]]
sticky = "source"
"#,
    );
    let [default, a] = parsed.groups() else {
        panic!("two groups")
    };
    assert_eq!((default.name.as_str(), default.tiers.len()), ("default", 2));
    assert!(default.sticky.is_some());
    assert_eq!(a.name, "a");
    assert_eq!(parsed.outlet_names().count(), 0);
    let parsed = good("group.default.sticky = \"source\"\n");
    assert_eq!(parsed.groups()[0].tiers[0].len(), 2);
}

#[test]
fn failback_and_stickiness_in_all_their_forms() {
    let group = |keys: &str| {
        let parsed = good(&format!("[group.a]\ntiers = [[\"isp1\"]]\n{keys}\n"));
        (parsed.groups()[1].failback, parsed.groups()[1].sticky)
    };
    let minute = Duration::from_secs(60);
    for (keys, when, flows) in [
        ("", FailbackWhen::AtOnce, FailbackFlows::Drain),
        (
            "failback = \"by-hand\"",
            FailbackWhen::ByHand,
            FailbackFlows::Drain,
        ),
        (
            "failback = { flows = \"move\" }",
            FailbackWhen::AtOnce,
            FailbackFlows::Move,
        ),
        (
            "failback = { after = \"60s\", by_hand = false }",
            FailbackWhen::After(minute),
            FailbackFlows::Drain,
        ),
        (
            "failback = { by_hand = true, flows = \"keep\" }",
            FailbackWhen::ByHand,
            FailbackFlows::Keep,
        ),
    ] {
        assert_eq!(group(keys).0, Failback { when, flows }, "{keys}");
    }
    let day = Duration::from_secs(24 * 60 * 60);
    for (keys, sticky) in [
        ("", None),
        ("sticky = \"connection\"", None),
        ("sticky = \"source\"", Some((StickyBy::Source, day))),
        (
            "sticky = { by = \"source-destination\", for = \"1m\" }",
            Some((StickyBy::SourceDestination, minute)),
        ),
    ] {
        let sticky = sticky.map(|(by, idle)| Sticky { by, idle });
        assert_eq!(group(keys).1, sticky, "{keys}");
    }
}

#[test]
fn policies_keep_their_order_and_get_names() {
    let parsed = good(
        r#"[[policy]]
use = "isp2"
flows = "move"
[[policy]]
name = "calls"
use = "isp1"
"#,
    );
    let policies: Vec<_> = parsed
        .policies()
        .iter()
        .map(|p| (p.name.as_str(), p.clauses.len(), p.outlet, p.flows))
        .collect();
    assert_eq!(
        policies,
        [
            ("policy-1", 0, 1, PolicyFlows::Move),
            ("calls", 0, 2, PolicyFlows::Keep)
        ]
    );
}

#[test]
fn clauses_come_in_the_order_of_the_file_and_have_places() {
    let rest = r#"[[policy]]
match = { dport = 443, not = { source = "10.0.0.1" }, protocol = "tcp" }
use = "isp1"
"#;
    let parsed = good(rest);
    let texts: Vec<_> = parsed.policies()[0]
        .clauses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        ["dport 443", "not source in 10.0.0.1", "protocol tcp"]
    );
    let text = with_two(rest);
    assert_eq!(&text[parsed.span_of_clause(0, 1)], "\"10.0.0.1\"");
    assert_eq!(&text[parsed.span_of_policy(0)], "[[policy]]");
    assert_eq!(parsed.span_of_clause(0, 9), parsed.span_of_policy(0));
    assert_eq!(parsed.span_of_policy(9), 0..0);
}

#[test]
fn addresses_are_canonical_sets_of_both_families() {
    let clause = clause(
        "source = [\"10.1.2.3/8\", \"10.0.0.1\", \"11.0.0.0-11.0.0.9\", \"2001:db8::7/64\"]",
    );
    let Selector::Source(addresses) = clause.selector else {
        panic!("a source")
    };
    assert_eq!(addresses.v4, spans(&[(0x0a00_0000, 0x0b00_0009)]));
    let first = 0x2001_0db8_0000_0000_u128 << 64;
    let last = first | u128::from(u64::MAX);
    assert_eq!(addresses.v6, spans(&[(first, last)]));
    assert_eq!(
        clause.text,
        "source in 10.0.0.0/8, 10.0.0.1, 11.0.0.0-11.0.0.9, 2001:db8::/64"
    );
}

#[test]
fn numbers_with_names_are_numbers() {
    let selector = |condition: &str| clause(condition).selector;
    let protocol = |pairs| Selector::Protocol(spans(pairs));
    assert_eq!(selector("protocol = \"tcp\""), protocol(&[(6, 6)]));
    assert_eq!(
        selector("protocol = \"icmp\""),
        protocol(&[(1, 1), (58, 58)])
    );
    assert_eq!(
        selector("protocol = [1, \"47\"]"),
        protocol(&[(1, 1), (47, 47)])
    );
    assert_eq!(
        selector("dport = [443, \"80\", \"5060-5061\", 5062]"),
        Selector::DestinationPort(spans(&[(80, 80), (443, 443), (5060, 5062)]))
    );
    assert_eq!(
        selector("dscp = [\"ef\", 26, \"cs5\"]"),
        Selector::Dscp(spans(&[(26, 26), (40, 40), (46, 46)]))
    );
    assert_eq!(
        selector("icmp = [\"echo-request\", \"packet-too-big\", 3]"),
        Selector::IcmpType {
            v4: spans(&[(3, 3), (8, 8)]),
            v6: spans(&[(2, 3), (128, 128)]),
        }
    );
    assert_eq!(
        selector("mac = \"52:54:00:12:34:56\""),
        Selector::Mac(spans(&[(0x5254_0012_3456, 0x5254_0012_3456)]))
    );
    assert_eq!(
        selector("mark = [\"0x10\", \"0x20/0xf0\", 3]"),
        Selector::Mark(vec![
            Mark::new(0x10, 0x00ff_ffff),
            Mark::new(0x20, 0xf0),
            Mark::new(3, 0x00ff_ffff)
        ])
    );
}

#[test]
fn the_routers_own_traffic_is_known_by_account_and_control_group() {
    let selector = |condition: &str| clause(condition).selector;
    assert_eq!(
        selector("user = [\"backup\", 0, \"7\"]"),
        Selector::User(spans(&[(0, 0), (7, 7), (34, 34)]))
    );
    assert_eq!(
        selector("group = \"adm\""),
        Selector::Group(spans(&[(4, 4)]))
    );
    let cgroup = Selector::Cgroup(vec!["system.slice/backup.service".to_owned()]);
    assert_eq!(selector("unit = \"backup.service\""), cgroup);
    assert_eq!(
        selector("cgroup = \"/system.slice/backup.service/\""),
        cgroup
    );
}

#[test]
fn sets_of_resolvers_are_named_after_the_policy() {
    let both = clauses(
        "domain = [\"*.Netflix.com\", \"zoom.us.\", \"netflix.com\"]\nnot.domain = \"a.zoom.us\"",
    );
    let set = |clause: &Clause| {
        let Selector::Domain {
            names,
            set,
            timeout,
        } = &clause.selector
        else {
            panic!("a domain")
        };
        (names.join(" "), set.clone(), *timeout)
    };
    let sets: Vec<_> = both.iter().map(set).collect();
    let day = uplinkd_config::DOMAIN_TIMEOUT;
    assert_eq!(
        sets,
        [
            ("netflix.com zoom.us".to_owned(), "p".to_owned(), day),
            ("a.zoom.us".to_owned(), "p.not".to_owned(), day)
        ]
    );
}

#[test]
fn a_family_says_nothing_where_both_are_named() {
    assert_eq!(
        clause("family = \"ipv6\"").selector,
        Selector::Family(Family::V6)
    );
    assert_eq!(clauses("family = [\"ipv4\", \"ipv6\"]"), []);
}

#[test]
fn texts_are_short_and_read_as_they_are_written() {
    assert_eq!(text("not.dport = 443"), "not dport 443");
    assert_eq!(
        text("schedule = \"mon-fri 08:00-18:00\""),
        "schedule mon-fri 08:00-18:00"
    );
    assert_eq!(text("unit = \"backup.service\""), "unit backup.service");
    assert_eq!(
        text("domain = [\"*.netflix.com\", \"zoom.us\"]"),
        "domain *.netflix.com, zoom.us"
    );
    let ports: Vec<_> = (1..=100).map(|p| p.to_string()).collect();
    let ports = |n: usize| text(&format!("dport = [{}]", ports[..n].join(", ")));
    assert_eq!(ports(5), "dport 1, 2, 3, 4, 5");
    assert_eq!(ports(6), "dport 1, 2, 3, 4 and 2 more");
    assert_eq!(ports(100), "dport 1, 2, 3, 4 and 96 more");
}

#[test]
fn an_uplink_without_the_family_of_a_policy_is_no_mistake() {
    let parsed = good(
        r#"uplink.isp1.ipv6.use = false
[[policy]]
match = { family = "ipv6" }
use = "isp1"
"#,
    );
    assert_eq!(parsed.warnings(), []);
}
