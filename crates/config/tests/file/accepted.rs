//! What good files mean, the near misses of the bounds, and where messages of others point.

use std::time::Duration;

use uplinkd_config::{Field, OutletCodes, Parsed, ReserveField, Slots, parse};
use uplinkd_model::{
    Config, Family, Gateway, Limits, Nat, Permille, ProbeSpec, Proto, Reserve, Slot, Target,
    UplinkName,
};

fn good(text: &str) -> Parsed {
    match parse("u.toml", text) {
        Ok(parsed) => {
            assert_eq!(parsed.warnings(), []);
            parsed
        }
        Err(found) => panic!("{}", uplinkd_config::render(&found, "u.toml", text, false)),
    }
}

fn with_one(rest: &str) -> Parsed {
    good(&format!("[uplink.isp1]\ninterface = \"eth1\"\n{rest}"))
}

fn config(parsed: &Parsed) -> Config {
    parsed.to_config(&Slots::default(), &OutletCodes::default())
}

fn name(word: &str) -> UplinkName {
    UplinkName::new(word).unwrap()
}

fn icmp(address: &str) -> Target {
    Target::Icmp(address.parse().unwrap())
}

#[test]
fn the_smallest_file_gets_every_default() {
    let config = config(&with_one(""));
    assert!(config.lan.is_empty());
    assert_eq!(config.reserve, Reserve::default());
    let [uplink] = &config.uplinks[..] else {
        panic!("one uplink")
    };
    assert_eq!((uplink.slot, &uplink.interface[..]), (Slot(1), "eth1"));
    for (family, nat, targets) in [
        (Family::V4, Nat::Masquerade, ["1.1.1.1", "8.8.8.8"]),
        (
            Family::V6,
            Nat::Auto,
            ["2606:4700:4700::1111", "2001:4860:4860::8888"],
        ),
    ] {
        let access = uplink.access(family).unwrap();
        assert_eq!(
            (access.gateway, access.nat, access.expected),
            (Gateway::Auto, nat, false)
        );
        let probe = ProbeSpec {
            targets: vec![Target::Gateway, icmp(targets[0]), icmp(targets[1])],
            quorum: 1,
            interval: Duration::from_secs(1),
            burst: Duration::from_millis(70),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 5,
            window: Duration::from_secs(10),
            loss: Limits {
                degraded: Some(Permille(100)),
                fail: None,
            },
            rtt: Limits::default(),
            hold: Duration::ZERO,
            damping: Some(Duration::from_secs(60)),
            tcp_sign: true,
        };
        assert_eq!(access.probe, probe);
    }
}

#[test]
fn one_group_has_all_uplinks_by_weight_in_the_order_of_the_file() {
    let parsed = good(
        "lan = [\"br-lan\"]
         [uplink.z.probe]
         fall = 2
         [uplink.b]
         interface = \"b0\"
         weight = 256
         [uplink.z]
         interface = \"z0\"",
    );
    let names: Vec<_> = parsed.names().map(UplinkName::as_str).collect();
    assert_eq!(names, ["b", "z"]);
    let config = config(&parsed);
    assert_eq!(config.lan, ["br-lan"]);
    let [group] = &config.groups[..] else {
        panic!("one group")
    };
    assert_eq!(group.name, "default");
    let [tier] = &group.tiers[..] else {
        panic!("one tier")
    };
    let members: Vec<_> = tier.iter().map(|m| (m.uplink.as_str(), m.weight)).collect();
    assert_eq!(members, [("b", 256), ("z", 1)]);
}

#[test]
fn slots_come_from_outside_and_new_names_get_one() {
    let parsed = good("uplink.b.interface = \"b0\"\nuplink.a.interface = \"a0\"\n");
    let mut slots = Slots::default();
    slots.allocate([&name("x"), &name("a")], 15).unwrap();
    let slot_of = |slots: &Slots, word| {
        let config = parsed.to_config(slots, &OutletCodes::default());
        config.uplink(&name(word)).unwrap().slot
    };
    assert_eq!(
        (slot_of(&slots, "a"), slot_of(&slots, "b")),
        (Slot(2), Slot(3))
    );
    slots.allocate(parsed.names(), parsed.slot_max()).unwrap();
    assert_eq!(
        (slot_of(&slots, "a"), slot_of(&slots, "b")),
        (Slot(2), Slot(3))
    );
}

#[test]
fn an_uplink_overrides_what_all_get() {
    let parsed = good(
        "[probe]
         targets = [\"9.9.9.9\"]
         rise = 9
         [uplink.a]
         interface = \"a0\"
         probe = { rise = 2, interval = \"2s\" }
         [uplink.b]
         interface = \"b0\"",
    );
    let [a, b] = parsed.uplinks() else {
        panic!("two uplinks")
    };
    let [a, b] = [a, b].map(|u| &u.ipv4.as_ref().unwrap().probe);
    assert_eq!((a.rise, b.rise), (2, 9));
    assert_eq!(a.interval, Duration::from_secs(2));
    assert_eq!(b.interval, Duration::from_secs(1));
    assert_eq!(a.targets, [icmp("9.9.9.9")]);
    assert_eq!(b.targets, [icmp("9.9.9.9")]);
}

#[test]
fn values_at_their_bounds_are_taken() {
    with_one("weight = 1");
    with_one("weight = 256");
    with_one("probe = { interval = \"10ms\", timeout = \"10ms\", fall = 1, rise = 1 }");
    with_one("probe = { interval = \"1h\", timeout = \"60s\", fall = 1000, rise = 1000 }");
    with_one("probe = { quorum = 2 }");
    with_one("[reserve]\ntables = 256\nrule_priority = 1\nrule_priority_last = 101");
    with_one("[reserve]\ntables = 4294950911\nrule_priority_last = 32666");
    with_one("[reserve]\nnexthop_ids = 4293918719\nmark_mask = 0xf\nproto = 255");
    with_one("[reserve]\nmark_mask = 0xffffffff\nnft_table = \"inets\"");
    with_one("[reserve]\nmark_mask = 0xf\nmark_uplink_bits = 2");
    with_one("[reserve]\nmark_uplink_bits = 1");
    with_one("[reserve]\nmark_uplink_bits = 6");
    with_one("[reserve]\nproto = 185\nmark_mask = \"4080\"");
    good("uplink.abcdefghijklmno.interface = \"fifteen-letters\"");
    good("uplink.a.interface = \"lan0\"\nuplink.b.interface = \"lan0.7\"\nlan = [\"lan0.8\"]");
    let three: String = (1..=3)
        .map(|i| format!("uplink.u{i}.interface = \"e{i}\"\n"))
        .collect();
    good(&format!("{three}reserve.mark_mask = 0xf\n"));
}

#[test]
fn addresses_may_repeat_where_that_makes_sense() {
    let parsed = with_one("ipv4 = { gateway = \"203.0.113.7\", nat = \"203.0.113.7\" }");
    let address = "203.0.113.7".parse().unwrap();
    let [uplink] = parsed.uplinks() else {
        panic!("one uplink")
    };
    let access = uplink.access(Family::V4).unwrap();
    assert!(access.expected);
    assert_eq!(access.gateway, Gateway::Address(address));
    assert_eq!(access.nat, Nat::Source(address));
}

#[test]
fn without_targets_the_link_alone_decides_whatever_the_quorum_for_all() {
    let parsed = good("probe.quorum = 2\nuplink.a = { interface = \"a0\", probe.targets = [] }");
    assert_eq!(probe(&parsed, Family::V4).targets, []);
    let parsed = with_one("probe.targets = [\"gateway\"]");
    assert_eq!(probe(&parsed, Family::V4).deciding(), 1);
}

fn probe(parsed: &Parsed, family: Family) -> &ProbeSpec {
    &parsed.uplinks()[0].access(family).unwrap().probe
}

#[test]
fn each_family_is_asked_for_by_its_own_targets_and_a_quorum_they_can_reach() {
    let parsed = with_one(
        "probe = { quorum = 2, targets = [\"gateway\", \"9.9.9.9\", \"icmp:2620:fe::fe\", \"1.1.1.1\"] }",
    );
    let (v4, v6) = (probe(&parsed, Family::V4), probe(&parsed, Family::V6));
    assert_eq!(
        v4.targets,
        [Target::Gateway, icmp("9.9.9.9"), icmp("1.1.1.1")]
    );
    assert_eq!(v6.targets, [Target::Gateway, icmp("2620:fe::fe")]);
    assert_eq!((v4.quorum, v6.quorum), (2, 1));
    let parsed = with_one("probe.targets = [\"9.9.9.9\"]");
    assert_eq!(probe(&parsed, Family::V6).targets, []);
}

#[test]
fn a_family_is_used_unless_it_is_switched_off() {
    let parsed = with_one("ipv4.use = false\nipv6 = { gateway = \"fe80::1\", nat = \"none\" }");
    let [uplink] = parsed.uplinks() else {
        panic!("one uplink")
    };
    assert_eq!(uplink.ipv4, None);
    let access = uplink.access(Family::V6).unwrap();
    assert!(access.expected);
    assert_eq!(access.gateway, Gateway::Address("fe80::1".parse().unwrap()));
    assert_eq!(access.nat, Nat::None);
    for (word, nat) in [
        ("auto", Nat::Auto),
        ("prefix", Nat::Prefix),
        ("masquerade", Nat::Masquerade),
    ] {
        let parsed = with_one(&format!("ipv6.nat = \"{word}\""));
        let access = parsed.uplinks()[0].ipv6.as_ref().unwrap().nat;
        assert_eq!(access, nat);
    }
    let parsed = with_one("ipv6.nat = \"2001:db8::7\"");
    let v6 = parsed.uplinks()[0].ipv6.as_ref().unwrap();
    assert_eq!(v6.nat, Nat::Source("2001:db8::7".parse().unwrap()));
    assert!(!parsed.uplinks()[0].ipv4.as_ref().unwrap().expected);
}

#[test]
fn reserve_is_read_with_both_ways_to_write_a_mask() {
    let number = with_one("[reserve]\nmark_mask = 0x00ff_f000\nproto = 200\nnft_table = \"wan\"");
    let text = with_one("[reserve]\nmark_mask = \"0x00FF_F000\"\nproto = 200\nnft_table = \"wan\"");
    assert_eq!(number.reserve(), text.reserve());
    let expected = Reserve {
        mark_mask: 0x00ff_f000,
        mark_uplink_bits: 5,
        proto: Proto(200),
        nft_table: "wan".to_owned(),
        ..Reserve::default()
    };
    assert_eq!(number.reserve(), &expected);
    assert_eq!((number.slot_max(), number.outlet_max()), (31, 63));
}

#[test]
fn places_lead_to_the_value_or_else_to_the_name() {
    let text = "lan = [\"br-lan\"]
        probe.rise = 9
        [uplink.isp1]
        interface = \"eth1\"
        weight = 3
        ipv4.gateway = \"192.0.2.1\"
        [uplink.isp2]
        interface = \"eth2\"
        [reserve]
        mark_mask = 0xff";
    let parsed = good(text);
    let (isp1, isp2) = (name("isp1"), name("isp2"));
    let at = |uplink, field| &text[parsed.span_of(uplink, field)];
    assert_eq!(at(&isp1, Field::Name), "isp1");
    assert_eq!(at(&isp1, Field::Interface), "\"eth1\"");
    assert_eq!(at(&isp1, Field::Weight), "3");
    assert_eq!(at(&isp1, Field::Gateway(Family::V4)), "\"192.0.2.1\"");
    assert_eq!(at(&isp1, Field::Access(Family::V4)), "ipv4");
    assert_eq!(at(&isp1, Field::Nat(Family::V4)), "isp1");
    assert_eq!(at(&isp2, Field::Gateway(Family::V6)), "isp2");
    assert_eq!(at(&isp2, Field::Rise), "9");
    assert_eq!(at(&name("isp3"), Field::Name), "");
    let reserve = |field| &text[parsed.span_of_reserve(field)];
    assert_eq!(reserve(ReserveField::MarkMask), "0xff");
    assert_eq!(reserve(ReserveField::Tables), "reserve");
    assert_eq!(
        parsed.span_of_lan("br-lan").map(|s| &text[s]),
        Some("\"br-lan\"")
    );
    assert_eq!(parsed.span_of_lan("br-lan2"), None);
}

#[test]
fn samples_are_recorded_only_where_the_file_says_so_and_within_bounds() {
    let record = |rest: &str| good(&format!("[uplink.a]\ninterface = \"eth1\"\n{rest}")).record();
    assert!(!record("").samples);
    assert_eq!(record("[record]\n").size_mb, 64);
    let on = record("[record]\nsamples = true\nsize_mb = 5\n");
    assert_eq!((on.samples, on.size_mb), (true, 5));
    for bad in ["size_mb = 0", "samples = \"yes\"", "sample = true"] {
        let file = format!("[uplink.a]\ninterface = \"eth1\"\n[record]\n{bad}\n");
        let mistakes = uplinkd_config::parse("test", &file).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{bad}");
    }
}

#[test]
fn history_is_kept_unless_the_file_says_otherwise_and_within_bounds() {
    let history = |rest: &str| {
        let text = format!("[uplink.a]\ninterface = \"eth1\"\n{rest}");
        let history = good(&text).history();
        (history.enabled, history.size_mb)
    };
    assert_eq!(history(""), (true, 64));
    assert_eq!(history("[history]\nenabled = false\n"), (false, 64));
    assert_eq!(history("[history]\nsize_mb = 4\n"), (true, 4));
    for bad in ["size_mb = 3", "enabled = 1", "size = 5"] {
        let file = format!("[uplink.a]\ninterface = \"eth1\"\n[history]\n{bad}\n");
        let mistakes = uplinkd_config::parse("test", &file).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{bad}");
    }
}
