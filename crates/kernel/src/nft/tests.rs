//! The text, what is refused, and the differences. Whether nft and the kernel agree is tried in
//! `tests/netns`: `nft.rs` (it loads), `classify.rs` (it means what it should).

mod count;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use uplinkd_model::{
    Classifier, Mark, Nat, Reserve, Slot,
    classify::{Condition, Entry, Field, MapStage, RuleStage, Stage, interface_number},
    nft::{NftOutlet, NftUplink, Refusal},
    policy::{Span, Spans, Sticky, StickyBy},
};

use super::{delta::delta, *};

fn uplink(slot: u16, interface: &str, nat: Nat, addresses: &[&str]) -> NftUplink {
    NftUplink {
        slot,
        interface: interface.to_owned(),
        mark: Reserve::default().mark_out(Slot(slot)).value,
        nat4: nat,
        nat6: Nat::None,
        kept: Vec::new(),
        translations: Vec::new(),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

fn outlet(code: u16) -> NftOutlet {
    NftOutlet {
        code,
        mark: Reserve::default().mark_outlet(code).value,
        sticky: None,
        members: Vec::new(),
        refusal: Refusal::Never,
    }
}

fn table(uplinks: Vec<NftUplink>) -> NftTable {
    NftTable {
        name: "uplinkd".to_owned(),
        marks: Reserve::default().marks(),
        lan: Vec::new(),
        foreign_marks: BTreeSet::new(),
        uplinks,
        outlets: (0..3).map(outlet).collect(),
        classifier: Arc::new(Classifier::default()),
        domains: BTreeMap::new(),
        cgroups: BTreeMap::new(),
    }
}

fn with(stages: Vec<Stage>) -> NftTable {
    let mut table = table(vec![uplink(1, "wan1", Nat::None, &[])]);
    table.classifier = Arc::new(Classifier {
        v4: stages,
        v6: Vec::new(),
        fingerprint: 1,
        ..Classifier::default()
    });
    table
}

/// The same stages in IPv6.
fn with_v6(stages: Vec<Stage>) -> NftTable {
    let mut table = with(Vec::new());
    table.classifier = Arc::new(Classifier {
        v4: Vec::new(),
        v6: stages,
        fingerprint: 1,
        ..Classifier::default()
    });
    table
}

fn ruleset_of(table: &NftTable) -> Result<ruleset::Ruleset, RenderError> {
    build::ruleset(table, &Forms::default())
}

fn rule(conditions: Vec<Condition>) -> Stage {
    Stage::Rule(RuleStage {
        conditions,
        outlet: 2,
        policy: 0,
    })
}

fn map(fields: &[Field], keys: Vec<Vec<Span>>) -> Stage {
    let entries = keys.into_iter().map(|key| Entry {
        key,
        outlet: 1,
        policy: 0,
    });
    Stage::Map(MapStage {
        fields: fields.to_vec(),
        entries: entries.collect(),
    })
}

/// The lines of the block that begins with this line.
fn block<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    text.lines()
        .skip_while(|l| l.trim() != head)
        .skip(1)
        .take_while(|l| *l != "\t}")
        .map(str::trim)
        .collect()
}

fn lines(table: &NftTable, head: &str) -> Vec<String> {
    let text = render(table).unwrap();
    block(&text, head).into_iter().map(str::to_owned).collect()
}

#[test]
fn the_old_table_goes_in_the_same_transaction() {
    let text = render(&table(Vec::new())).unwrap();
    let expected = "table inet uplinkd\ndelete table inet uplinkd\ntable inet uplinkd {\n";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn an_established_connections_packet_meets_the_same_few_rules_whatever_is_configured() {
    let mut large = with(vec![rule(Vec::new()); 200]);
    large.uplinks = (1..=7)
        .map(|n| uplink(n, &format!("w{n}"), Nat::Masquerade, &[]))
        .collect();
    large.outlets = (0..=15).map(outlet).collect();
    for hook in [
        "chain prerouting {",
        "chain output {",
        "chain postrouting {",
    ] {
        assert_eq!(lines(&table(Vec::new()), hook), lines(&large, hook));
    }
    assert_eq!(
        lines(&large, "chain prerouting {")[1..],
        [
            "ct mark and 0xff000000 == 0 goto unmarked",
            "iifname @uplinks accept",
            "meta mark and 0x00ffffff == 0 meta mark set ct mark and 0xff000000 accept",
            "ct state invalid goto stray_in",
            "goto restore",
        ]
    );
}

#[test]
fn what_belongs_to_no_connection_does_not_leave_untranslated() {
    let uplinks = vec![
        uplink(1, "wan1", Nat::Masquerade, &[]),
        uplink(2, "wan2", Nat::None, &[]),
    ];
    let ruled = table(uplinks);
    let stray = lines(&ruled, "chain stray_out {");
    assert!(
        stray
            .iter()
            .any(|l| l == "meta nfproto ipv4 oifname { \"wan1\" } drop"),
        "{stray:?}"
    );
    let untranslated = table(vec![uplink(2, "wan2", Nat::None, &[])]);
    let stray = lines(&untranslated, "chain stray_out {");
    assert!(!stray.iter().any(|l| l.ends_with("drop")), "{stray:?}");
}

#[test]
fn only_outlets_that_routing_may_refuse_are_asked_about() {
    let mut table = with(vec![rule(Vec::new())]);
    let text = render(&table).unwrap();
    assert!(!text.contains("refuse"), "{text}");
    table.outlets[2].refusal = Refusal::Possible;
    let before = table.fingerprint();
    let mark = Reserve::default().mark_outlet(2).value;
    assert_eq!(
        lines(&table, "chain refuse4 {")[1..],
        [format!(
            "meta nfproto ipv4 ct mark and 0xf0000000 {{ {mark:#010x} }} \
             fib daddr type unicast fib daddr . mark oif missing goto refuse"
        )]
    );
    let asks = |chain: &str| lines(&table, chain).iter().any(|l| l.contains("fib daddr"));
    assert!(asks("chain outlet6_2 {") && !asks("chain outlet6_1 {"));
    // The default group has no mark to ask by.
    table.outlets[2].refusal = Refusal::Never;
    table.outlets[0].refusal = Refusal::Possible;
    assert_ne!(table.fingerprint(), before);
    assert_eq!(render(&table).unwrap(), text);
}

#[test]
fn bits_of_others_are_kept_wherever_a_mark_is_set() {
    let mut table = table(vec![uplink(1, "wan1", Nat::None, &[])]);
    table.foreign_marks = [51_820].into();
    let text = render(&table).unwrap();
    for line in text
        .lines()
        .filter(|l| l.contains(" set ") && l.contains(" or "))
    {
        let kept = line.contains(" and 0x00ffffff or ")
            || line.contains(" and 0xf0ffffff or ")
            || line.contains(" and 0x0fffffff or ");
        assert!(kept, "{line}");
    }
    assert_eq!(
        block(&text, "chain pin_in_1 {")[2..],
        ["ct mark set ct mark and 0xf0ffffff or 0x09000000", "accept"]
    );
    assert_eq!(
        block(&text, "chain restore {")[0],
        "meta mark @foreign accept"
    );
    assert_eq!(
        block(&text, "chain classify {")[0],
        "meta mark @foreign accept"
    );
}

#[test]
fn each_kind_of_translation_has_its_chain_and_none_has_no_entry() {
    let static_source = Nat::Source("203.0.113.9".parse().unwrap());
    let mut table = table(vec![
        uplink(1, "wan1", Nat::Masquerade, &["192.0.2.9", "2001:db8::9"]),
        uplink(2, "wan2", static_source, &[]),
        uplink(3, "wan3", Nat::None, &[]),
    ]);
    table.uplinks[2].nat6 = Nat::Source("2001:db8::7".parse().unwrap());
    let text = render(&table).unwrap();
    assert_eq!(block(&text, "chain nat4_1 {"), ["masquerade"]);
    assert_eq!(block(&text, "chain nat4_2 {"), ["snat ip to 203.0.113.9"]);
    assert_eq!(block(&text, "chain nat6_3 {"), ["snat ip6 to 2001:db8::7"]);
    assert!(block(&text, "chain nat4_3 {").is_empty());
    assert_eq!(
        block(&text, "map nat4 {"),
        [
            "type ifname : verdict",
            "elements = {",
            "\"wan1\" : goto nat4_1,",
            "\"wan2\" : goto nat4_2,",
            "}",
        ]
    );
    assert!(block(&text, "set own4 {").contains(&"\"wan1\" . 192.0.2.9,"));
    assert!(block(&text, "set own6 {").contains(&"\"wan1\" . 2001:db8::9,"));
    assert!(block(&text, "map adopt_out4 {").contains(&"203.0.113.9 : jump pin_out_2,"));
    assert!(block(&text, "map adopt_in6 {").contains(&"2001:db8::9 : jump pin_in_1,"));
}

#[test]
fn an_address_that_two_uplinks_have_adopts_nothing() {
    let shared = "192.168.1.2";
    let table = table(vec![
        uplink(1, "wan1", Nat::Masquerade, &[shared, "192.0.2.1"]),
        uplink(2, "wan2", Nat::Masquerade, &[shared]),
    ]);
    assert_eq!(
        lines(&table, "map adopt_out4 {"),
        [
            "type ipv4_addr : verdict",
            "elements = {",
            "192.0.2.1 : jump pin_out_1,",
            "}"
        ]
    );
}

#[test]
fn two_uplinks_on_one_interface_do_not_make_a_key_twice() {
    let table = table(vec![
        uplink(1, "wan1", Nat::Masquerade, &[]),
        uplink(2, "wan1", Nat::Masquerade, &[]),
    ]);
    assert_eq!(lines(&table, "map leave {").len(), 4);
}

#[test]
fn names_that_could_be_read_as_something_else_are_refused() {
    for bad in [
        "",
        "a\"b",
        "a*",
        "a b",
        "a\nb",
        "a\\b",
        "a/b",
        "abcdefghijklmnop",
    ] {
        let expected = Err(RenderError::Interface(bad.to_owned()));
        assert_eq!(
            render(&table(vec![uplink(1, bad, Nat::None, &[])])),
            expected
        );
        let mut by_lan = table(Vec::new());
        by_lan.lan.push(bad.to_owned());
        assert_eq!(render(&by_lan), expected);
        let in_rule = with(vec![rule(vec![Condition::NotInterface(vec![
            bad.to_owned(),
        ])])]);
        assert_eq!(render(&in_rule), expected);
    }
    for good in ["eth0.7", "wg-a", "a;b}", "#x", "@lan", "ppp0:1"] {
        assert!(render(&table(vec![uplink(1, good, Nat::None, &[])])).is_ok());
    }
    for bad in ["", "1a", "a b", "a{", "a;b"] {
        let table = NftTable {
            name: bad.to_owned(),
            ..table(Vec::new())
        };
        assert_eq!(render(&table), Err(RenderError::Table(bad.to_owned())));
    }
    let mut wrong = table(vec![uplink(1, "wan1", Nat::None, &[])]);
    wrong.uplinks[0].nat4 = Nat::Source("2001:db8::1".parse().unwrap());
    assert!(matches!(render(&wrong), Err(RenderError::Source { .. })));
    let hostile = map(
        &[Field::Interface],
        vec![vec![Span::one(interface_number("a\"b"))]],
    );
    assert!(matches!(
        render(&with(vec![hostile])),
        Err(RenderError::Interface(_))
    ));
}

#[test]
fn a_map_has_the_form_that_its_keys_need() {
    let ports = [Field::Protocol, Field::DestinationPort];
    let stages = vec![
        map(&[Field::Source], vec![vec![Span::one(0x0a00_0001_u32)]]),
        map(
            &ports,
            vec![vec![Span::one(6_u8), Span::new(80_u16, 90_u16)]],
        ),
        map(&[Field::Source], vec![vec![Span::new(0_u32, 255_u32)]]),
    ];
    let table = with(stages);
    assert_eq!(
        lines(&table, "chain in4 {"),
        [
            "ip saddr vmap @map4_source_1",
            "ip protocol . th dport vmap @map4_protocol_dport_ranges_1",
            "ip saddr vmap @map4_source_ranges_1",
        ]
    );
    assert_eq!(lines(&table, "chain in4 {"), lines(&table, "chain own4 {"));
    // Kernels that look closely refuse what nft makes of `meta l4proto` here.
    let key = vec![Span::one(6_u8), Span::new(80_u16, 90_u16)];
    assert_eq!(
        lines(&with_v6(vec![map(&ports, vec![key])]), "chain in6 {"),
        ["ct original protocol . th dport vmap @map6_protocol_dport_ranges_1"]
    );
    assert_eq!(
        lines(&table, "map map4_protocol_dport_ranges_1 {"),
        [
            "type inet_proto . inet_service : verdict",
            "flags interval",
            "elements = {",
            "6 . 80-90 : goto outlet4_1,",
            "}",
        ]
    );
}

#[test]
fn ranges_of_several_fields_ask_the_most_telling_one_first_and_come_in_parts() {
    let keys = |many: u32| {
        let keys = (0..many).map(|n| {
            vec![
                Span::new(0x0a00_0000_u32, 0x0a00_ffff_u32),
                Span::one(n),
                Span::one(6_u8),
            ]
        });
        keys.collect::<Vec<_>>()
    };
    let fields = [Field::Source, Field::Destination, Field::Protocol];
    let few = with(vec![map(&fields, keys(100))]);
    assert_eq!(
        lines(&few, "chain in4 {"),
        ["ip daddr . ip saddr . ip protocol vmap @map4_destination_source_protocol_ranges_1"]
    );
    let listed = lines(&few, "map map4_destination_source_protocol_ranges_1 {");
    assert!(listed.contains(&"0.0.0.7 . 10.0.0.0-10.0.255.255 . 6 : goto outlet4_1,".to_owned()));

    // One more or less is a matter of its part alone.
    let many = |n| ruleset_of(&with(vec![map(&fields, keys(n))])).unwrap();
    let delta = delta(&many(3000), &many(3001)).unwrap();
    assert_eq!(delta.fill.len(), 1);
    assert_eq!(delta.digests.len(), 1);
}

#[test]
fn what_no_key_can_hold_is_split_by_one_field() {
    let stage = map(
        &[Field::Destination, Field::Dscp],
        vec![
            vec![Span::one(1_u8), Span::new(8_u8, 10_u8)],
            vec![Span::one(2_u8), Span::one(46_u8)],
        ],
    );
    assert_eq!(
        lines(&with(vec![stage]), "chain in4 {"),
        [
            "ip dscp { 8, 9, 10 } ip daddr vmap @map4_destination_1",
            "ip dscp 46 ip daddr vmap @map4_destination_2",
        ]
    );
}

#[test]
fn a_condition_holds_for_packets_that_lack_what_it_denies() {
    let users = Spans::new([Span::new(1000_u32, 2000_u32)]);
    let table = with(vec![rule(vec![
        Condition::NotUser(users),
        Condition::NotInterface(vec!["lan".to_owned()]),
    ])]);
    assert_eq!(
        lines(&table, "chain in4 {"),
        ["iifname != \"lan\" goto outlet4_2"]
    );
    let own = lines(&table, "chain own4 {");
    let chain = own[0].strip_prefix("jump ").unwrap();
    assert_eq!(
        lines(&table, &format!("chain {chain} {{")),
        ["meta skuid 1000-2000 return", "goto outlet4_2"]
    );
}

#[test]
fn marks_are_compared_under_their_masks() {
    let marks = vec![
        Mark::new(1, 0xff),
        Mark::new(2, 0xff),
        Mark::new(0x100, 0xf00),
    ];
    let stage = |not| {
        with(vec![rule(vec![Condition::Mark {
            any_of: marks.clone(),
            not,
        }])])
    };
    assert_eq!(
        lines(&stage(false), "chain in4 {"),
        [
            "meta mark and 0x000000ff { 0x00000001, 0x00000002 } goto outlet4_2",
            "meta mark and 0x00000f00 == 0x00000100 goto outlet4_2",
        ]
    );
    assert_eq!(
        lines(&stage(true), "chain in4 {"),
        ["meta mark and 0x000000ff != { 0x00000001, 0x00000002 } \
          meta mark and 0x00000f00 != 0x00000100 goto outlet4_2"]
    );
}

#[test]
fn an_address_in_use_is_refreshed_and_an_unknown_set_is_refused() {
    let condition = Condition::Domain {
        set: "zoom".to_owned(),
        not: false,
    };
    let mut table = with(vec![rule(vec![condition])]);
    assert_eq!(render(&table), Err(RenderError::Set("zoom".to_owned())));
    table.domains = [("zoom".to_owned(), Duration::from_secs(60))].into();
    assert_eq!(
        lines(&table, "chain in4 {"),
        ["ip daddr @dns4_zoom update @dns4_zoom { ip daddr } goto outlet4_2"]
    );
    assert!(lines(&table, "set dns6_zoom {").contains(&"timeout 60s".to_owned()));
}

#[test]
fn a_sticky_outlet_hints_and_learns() {
    let mut table = with(Vec::new());
    table.uplinks.push(uplink(2, "wan2", Nat::None, &[]));
    table.outlets[0].sticky = Some(Sticky {
        by: StickyBy::Source,
        idle: Duration::from_secs(600),
    });
    table.outlets[0].members = vec![1, 2, 9];
    assert_eq!(lines(&table, "chain in4 {"), ["goto outlet4_0"]);
    assert_eq!(
        lines(&table, "chain outlet4_0 {"),
        [
            "ct original ip saddr @sticky4_0_1 goto hint_1",
            "ct original ip saddr @sticky4_0_2 goto hint_2",
            "accept",
        ]
    );
    assert_eq!(
        lines(&table, "chain learn_0_2 {"),
        [
            "delete @sticky4_0_1 { ct original ip saddr }",
            "update @sticky4_0_2 { ct original ip saddr }",
            "delete @sticky6_0_1 { ct original ip6 saddr }",
            "update @sticky6_0_2 { ct original ip6 saddr }",
        ]
    );
    assert!(lines(&table, "map leave {").contains(&"\"wan2\" : goto leave_2,".to_owned()));
}

#[test]
fn a_change_of_one_policy_among_many_touches_one_part_of_a_chain() {
    let stages = |changed: u32| -> Vec<Stage> {
        (0..1000_u32)
            .map(|n| {
                let mark = if n == 500 { changed } else { n };
                rule(vec![Condition::Mark {
                    any_of: vec![Mark::new(mark, 0xffff)],
                    not: false,
                }])
            })
            .collect()
    };
    let (old, new) = (
        ruleset_of(&with(stages(500))).unwrap(),
        ruleset_of(&with(stages(5000))).unwrap(),
    );
    let delta = delta(&old, &new).unwrap();
    assert!(delta.is_one_text());
    // One for forwarded packets and one for the router's own, each filled again in its place.
    assert_eq!(delta.chains.len(), 2, "{:?}", delta.chains);
    let filled = delta.switch.lines().filter(|l| l.contains("meta mark"));
    assert!(filled.count() <= 2 * 64, "{}", delta.switch);
    assert_eq!((delta.declare, delta.clear), (String::new(), String::new()));
}

#[test]
fn a_change_of_elements_needs_no_nft() {
    let content = |last: u32| {
        let keys = (0..5000_u32).map(|n| vec![Span::new(n * 100, n * 100 + 50)]);
        let keys = keys.chain([vec![Span::new(600_000_u32, last)]]);
        with(vec![map(&[Field::Destination], keys.collect())])
    };
    let (old, new) = (
        ruleset_of(&content(600_010)).unwrap(),
        ruleset_of(&content(600_011)).unwrap(),
    );
    let delta = delta(&old, &new).unwrap();
    assert_eq!(
        (delta.declare, delta.switch, delta.clear),
        (String::new(), String::new(), String::new())
    );
    assert_eq!((delta.fill.len(), delta.drain.len()), (2, 0));
    let nothing = super::delta::delta(&new, &new.clone()).unwrap();
    assert_eq!(nothing, super::delta::Delta::default());
}

#[test]
fn prefixes_of_one_length_are_hashed_and_others_stay_ranges() {
    let content = |last: Span| {
        let keys = (0..300_u32).map(|n| vec![Span::new(n * 256, n * 256 + 63)]);
        with(vec![map(
            &[Field::Destination],
            keys.chain([vec![last]]).collect(),
        )])
    };
    let odd = content(Span::new(100_001_u32, 100_006_u32));
    let rules = lines(&odd, "chain in4 {");
    let expected = [
        "ip daddr and 255.255.255.192 @map4_destination_ranges_1_26_to_1 goto outlet4_1",
        "ip daddr vmap @map4_destination_ranges_1_others",
    ];
    assert_eq!(rules, expected);
    let set = lines(&odd, "set map4_destination_ranges_1_26_to_1 {");
    assert!(!set.contains(&"flags interval".to_owned()), "{set:?}");
    assert!(set.contains(&"0.0.1.0,".to_owned()), "{set:?}");

    let even = content(Span::new(128_000_u32, 128_063_u32));
    assert_eq!(lines(&even, "chain in4 {"), expected[..1]);
}

#[test]
fn a_rule_that_leads_elsewhere_is_replaced_by_messages() {
    let stages = |outlet: u16| -> Vec<Stage> {
        let one = |(n, field): (u32, Field)| {
            Stage::Rule(RuleStage {
                conditions: vec![Condition::Among {
                    field,
                    values: Spans::new([Span::one(n)]),
                }],
                outlet: if n == 699 { outlet } else { 1 },
                policy: 0,
            })
        };
        let fields = [Field::Source, Field::Destination].into_iter().cycle();
        (0..700).zip(fields).map(one).collect()
    };
    let ruleset = |stages| ruleset_of(&with(stages)).unwrap();
    let (old, new) = (ruleset(stages(1)), ruleset(stages(0)));
    let delta = delta(&old, &new).unwrap();
    // The last of all: where it leads moves no end of a part and renames none.
    assert_eq!(
        delta.chains,
        ["in4_last".to_owned(), "own4_last".to_owned()].into()
    );
    let changes = direct::changes(&delta, &old, &new).unwrap();
    assert!(changes.iter().all(|c| c.count() == (1, 1)), "{changes:?}");

    // With one more: nothing else changes either.
    let mut more = stages(1);
    more.insert(350, more[0].clone());
    let longer = ruleset(more);
    let delta = super::delta::delta(&old, &longer).unwrap();
    let changes = direct::changes(&delta, &old, &longer).unwrap();
    assert!(changes.iter().all(|c| c.count() == (0, 1)), "{changes:?}");

    // What has other words is left to nft.
    let mut marked = stages(1);
    marked[350] = rule(vec![Condition::Mark {
        any_of: vec![Mark::new(1, 1)],
        not: false,
    }]);
    let marked = ruleset(marked);
    let delta = super::delta::delta(&old, &marked).unwrap();
    assert_eq!(direct::changes(&delta, &old, &marked), None);
}

#[test]
fn another_prefix_touches_what_is_made_of_it_and_nothing_else() {
    let content = |by: &str| {
        let mut uplink = uplink(1, "wan1", Nat::None, &[]);
        uplink.nat6 = Nat::Masquerade;
        let by: ipnet::Ipv6Net = by.parse().unwrap();
        uplink.kept = vec![by.supernet().unwrap()];
        uplink.translations = vec![uplinkd_model::prefix::Translation {
            network: "fd00::/64".parse().unwrap(),
            by,
            inbound: true,
            router: vec![by.network()],
        }];
        table(vec![uplink])
    };
    let (old, new) = (content("2001:db8:1::/64"), content("2001:db8:2::/64"));
    assert_eq!(
        lines(&new, "chain nat6_1 {"),
        [
            "fib saddr type local masquerade",
            "ip6 saddr fd00::/64 snat ip6 prefix to 2001:db8:2::/64",
            "masquerade",
        ]
    );
    assert_eq!(
        lines(&new, "chain inward6_1 {"),
        [
            "ip6 daddr 2001:db8:2:: accept",
            "ip6 daddr 2001:db8:2::/64 dnat ip6 prefix to fd00::/64",
        ]
    );
    assert_ne!(old.fingerprint(), new.fingerprint());
    // The router itself leaves as whatever is not translated one to one.
    let mut fixed = content("2001:db8:1::/64");
    fixed.uplinks[0].nat6 = Nat::Source("2001:db8:1::7".parse().unwrap());
    let fixed = lines(&fixed, "chain nat6_1 {");
    assert_eq!(fixed[0], "fib saddr type local snat ip6 to 2001:db8:1::7");
    assert_eq!(fixed[2], "snat ip6 to 2001:db8:1::7");
    let old = ruleset_of(&old).unwrap();
    let delta = delta(&old, &ruleset_of(&new).unwrap()).unwrap();
    let chains: Vec<_> = delta.chains.iter().map(String::as_str).collect();
    assert_eq!(chains, ["inward6_1", "nat6_1", "stray_in"]);
    assert_eq!((delta.fill.len(), delta.drain.len()), (2, 0));
    assert_eq!((delta.declare, delta.clear), (String::new(), String::new()));
    // The first prefix of all is a change in place as well.
    let none = ruleset_of(&table(vec![uplink(1, "wan1", Nat::None, &[])])).unwrap();
    assert!(super::delta::delta(&none, &old).is_some());
    assert!(super::delta::delta(&old, &none).is_some());
}

#[test]
fn another_kind_of_sticky_needs_the_whole_table() {
    let content = |by| {
        let mut table = with(Vec::new());
        table.outlets[1].sticky = Some(Sticky {
            by,
            idle: Duration::from_secs(600),
        });
        table.outlets[1].members = vec![1];
        ruleset_of(&table).unwrap()
    };
    let (source, pair) = (
        content(StickyBy::Source),
        content(StickyBy::SourceDestination),
    );
    assert_eq!(delta(&source, &pair), None);
}

fn known() -> Known {
    Known {
        name: "uplinkd".to_owned(),
        fingerprint: u64::MAX,
        structure: [("chain `nat`".to_owned(), 7)].into(),
        digests: BTreeMap::new(),
        generation: None,
        ruleset: None,
    }
}

#[test]
fn what_was_put_is_remembered_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut memory = Memory::new(Some(dir.path().to_owned()));
    assert!(memory.known.is_none());
    memory.set(Some(known()));
    let again = Memory::new(Some(dir.path().to_owned())).known.unwrap();
    assert_eq!(again.fingerprint, known().fingerprint);
    assert_eq!(again.structure, known().structure);
    memory.set(None);
    assert!(Memory::new(Some(dir.path().to_owned())).known.is_none());
}

#[test]
fn a_file_that_makes_no_sense_is_as_good_as_none() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), "{\"table\": 7").unwrap();
    assert!(Memory::new(Some(dir.path().to_owned())).known.is_none());
}

#[test]
fn forms_of_maps_that_stay_are_taken_over_and_never_change_what_is_put() {
    let keys = |n: u128| {
        (0..n)
            .map(|k| vec![Span::new(k * 512, k * 512 + 255)])
            .collect()
    };
    let ports = |n: u128| {
        let key = |k: u128| vec![Span::new(k * 9, k * 9 + 3), Span::one(17_u8)];
        (0..n).map(key).collect()
    };
    let two = [Field::Source, Field::Protocol];
    let before = with(vec![
        map(&[Field::Destination], keys(600)),
        map(&two, ports(3000)),
        rule(Vec::new()),
    ]);
    let forms = Forms::of(&before.classifier, &[]);
    // The second map stays what it is; the first leads elsewhere, and another one comes before both.
    let mut stages = before.classifier.v4.clone();
    let Stage::Map(first) = &mut stages[0] else {
        panic!("a map comes first");
    };
    first.entries[7].outlet = 2;
    stages.insert(0, map(&two, ports(5)));
    let after = with(stages);
    let entries = |at: usize| match &after.classifier.v4[at] {
        Stage::Map(map) => map.entries.clone(),
        Stage::Rule(_) => panic!("no map"),
    };
    assert!(!forms.has(&entries(1)), "it has changed");
    assert!(forms.has(&entries(2)), "the very same");
    let foreseen = Forms::of(&after.classifier, std::slice::from_ref(&forms));
    assert!((0..3).all(|n| foreseen.has(&entries(n))));
    let plain = ruleset_of(&after).unwrap();
    for known in [&forms, &foreseen] {
        assert_eq!(build::ruleset(&after, known).unwrap(), plain);
    }
    // What is the same is seen to be so without a look at the entries.
    let (old, new) = (
        build::ruleset(&before, &forms).unwrap(),
        build::ruleset(&after, &foreseen).unwrap(),
    );
    let same = |name: &str, other: &str| {
        let elements = |ruleset: &ruleset::Ruleset, name: &str| {
            let collection = ruleset.collections.get(name).unwrap();
            collection.elements().unwrap().clone()
        };
        elements(&old, name).is_same_list(&elements(&new, other))
    };
    assert!(same(
        "map4_source_protocol_ranges_1",
        "map4_source_protocol_ranges_2"
    ));
    assert!(!same(
        "map4_destination_ranges_1_24_to_1",
        "map4_destination_ranges_1_24_to_1"
    ));
}
