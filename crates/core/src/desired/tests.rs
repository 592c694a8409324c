//! The desired state of small machines, object by object.

use uplinkd_model::{
    Mark, RouteVia, Rule, RulePriority,
    kernel_state::RuleAction,
    policy::{End, Sticky, StickyBy},
};

use super::*;
use crate::{
    facts::link_state,
    fixtures::{
        add_lan, add_outlet, both_families, config, delegated_only, machine,
        machine_with_both_families, name, with_calls,
    },
};

/// Everything wanted where these uplinks are in service in each family that is there, and each
/// outlet is served by its best tier, or by the tier given.
fn wanted(config: &Config, observed: &Observed, service: &[u16], tier: Option<usize>) -> Desired {
    let prefixes = Prefixes::learn(config, observed, &Prefixes::default(), |_| false);
    let mut links = Vec::new();
    for uplink in &config.uplinks {
        for family in FAMILIES.into_iter().filter(|f| uplink.access(*f).is_some()) {
            let known = |_| Default::default();
            let link = link_state(uplink, family, observed, &config.reserve, &prefixes, known);
            links.push((uplink, family, link));
        }
    }
    let service = PerFamily::from_fn(|family| Service {
        uplinks: links
            .iter()
            .filter(|(u, f, l)| *f == family && l.usable().is_some() && service.contains(&u.slot.0))
            .map(|(u, _, _)| u.name.clone())
            .collect(),
        ..Service::default()
    });
    let serving: Vec<_> = config
        .outlets
        .iter()
        .map(|outlet| {
            PerFamily::from_fn(|family| {
                let mut serving = tier.map_or_else(Serving::default, Serving::adopted);
                if let Some(outflow) = outlet.outflow() {
                    serving.decide(outflow, service.of(family), crate::Time::default(), false);
                }
                serving
            })
        })
        .collect();
    desired(&Inputs {
        config,
        claims: std::slice::from_ref(&config.reserve),
        lines: links
            .iter()
            .map(|(uplink, family, link)| Line {
                uplink,
                family: *family,
                link,
            })
            .collect(),
        service: &service,
        serving: &serving,
        numbers: crate::select::distinct_tiers(config),
        policies: &Policies::new(config, 0),
        prefixes: &prefixes,
        observed,
    })
}

/// The defaults of an outlet's table: metric and way, in the order in which they are preferred.
fn defaults(wanted: &Desired, table: u32, family: Family) -> Vec<(u32, String)> {
    let routes = wanted.routes.iter().filter(|r| {
        r.table == TableId(table) && r.family() == family && r.destination.prefix_len() == 0
    });
    routes
        .map(|r| {
            let way = match &r.via {
                RouteVia::Nexthop(id) => wanted.nexthops[id].to_string(),
                RouteVia::Prohibit => "prohibit".to_owned(),
                RouteVia::Device { .. } | RouteVia::Other => "?".to_owned(),
            };
            let words = way.split(" group ").nth(1).unwrap_or(&way);
            let members = words.trim_end_matches(" proto 177").replace("17700", "");
            (r.metric, members)
        })
        .collect()
}

fn rules(wanted: &Desired, family: Family, priority: std::ops::Range<u32>) -> Vec<String> {
    let rules = wanted.rules.iter().filter(|r| r.family == family);
    let rules = rules.filter(|r| priority.contains(&r.priority.0));
    rules.map(ToString::to_string).collect()
}

/// The kernel's own rules of a family.
fn with_rules_of_everybody(mut observed: Observed) -> Observed {
    for family in FAMILIES {
        for (priority, table) in [(0, 255), (32766, 254), (32767, 253)] {
            let rule = Rule::lookup(family, priority, TableId(table), uplinkd_model::Proto(2));
            observed.rules.push(rule);
        }
    }
    observed
}

#[test]
fn tables_are_known_by_their_names() {
    let mut config = with_calls(config(), |_| {});
    add_outlet(&mut config, "block", uplinkd_model::OutletKind::Block);
    let names = table_names(&config);
    assert_eq!(names[&TableId(7001)], "isp1");
    assert_eq!(names[&TableId(7002)], "isp2");
    assert_eq!(names[&config.reserve.table_outlet(0)], "default.group");
    assert_eq!(names[&config.reserve.table_outlet(1)], "calls.outlet");
    assert_eq!(names.len(), 6);
}

#[test]
fn both_families_have_the_same_shape_and_their_own_numbers() {
    let wanted = wanted(
        &both_families(config()),
        &machine_with_both_families(),
        &[1, 2],
        None,
    );
    let count = |family| {
        let singles = wanted.nexthops.values().filter(|n| match n.kind {
            uplinkd_model::NexthopKind::Single { family: own, .. } => own == family,
            uplinkd_model::NexthopKind::Group(_) | uplinkd_model::NexthopKind::Other => false,
        });
        let routes = wanted.routes.iter().filter(|r| r.family() == family);
        let rules = wanted.rules.iter().filter(|r| r.family == family);
        (singles.count(), routes.count(), rules.count())
    };
    assert_eq!(count(Family::V4), count(Family::V6));
    assert_eq!(count(Family::V4), (4, 10, 12));
    let v6 = wanted.routes.iter().filter(|r| r.family() == Family::V6);
    // The kernel makes 1024 of no metric.
    assert!(v6.clone().all(|r| r.metric != 0 && r.source.is_none()));
    let text: Vec<_> = v6.map(ToString::to_string).collect();
    assert!(
        text.contains(&"2001:db8:1::/64 dev wan1 table 7001 metric 1024 proto 177".to_owned()),
        "{text:#?}"
    );
}

#[test]
fn what_came_in_and_cannot_be_answered_by_its_uplink_is_not_answered_by_another() {
    let wanted = wanted(&config(), &machine(), &[1, 2], None);
    let marks = Reserve::default().marks();
    let (inbound, all) = (marks.inbound, marks.uplink | marks.inbound);
    let lookups = [11097, 11098].iter().zip([1, 2]);
    let lookups = lookups.map(|(table, slot)| {
        let mark = inbound | (slot << marks.uplink.trailing_zeros());
        format!("pref 2020 from all fwmark {mark:#x}/{all:#x} lookup {table} proto 177")
    });
    let last = format!("pref 2025 from all fwmark {inbound:#x}/{inbound:#x} prohibit proto 177");
    let expected: Vec<_> = lookups.chain([last]).collect();
    assert_eq!(rules(&wanted, Family::V4, 2020..2030), expected);
}

#[test]
fn a_family_that_nobody_has_gets_nothing() {
    let mut config = both_families(config());
    for uplink in &mut config.uplinks {
        uplink.ipv6.as_mut().unwrap().expected = false;
    }
    let machine = with_rules_of_everybody(machine());
    let wanted = wanted(&config, &machine, &[1, 2], None);
    assert!(wanted.rules.iter().all(|r| r.family == Family::V4));
    assert!(wanted.routes.iter().all(|r| r.family() == Family::V4));
}

#[test]
fn what_a_policy_refuses_is_refused_in_a_family_that_nobody_has() {
    let mut config = with_calls(config(), |o| o.end = End::Block);
    add_outlet(&mut config, "block", uplinkd_model::OutletKind::Block);
    add_outlet(&mut config, "main", uplinkd_model::OutletKind::Main);
    let machine = with_rules_of_everybody(machine());
    let wanted = wanted(&config, &machine, &[1, 2], None);
    let v6 = rules(&wanted, Family::V6, 0..40_000);
    assert_eq!(
        v6,
        [
            "pref 2000 from all lookup main suppress_prefixlength 0 proto 177",
            "pref 32020 from all fwmark 0x10000000/0xf0000000 lookup 15193 proto 177",
            "pref 32020 from all fwmark 0x20000000/0xf0000000 prohibit proto 177",
        ]
    );
    let table = config.reserve.table_outlet(1).0;
    let prohibit = [(Reserve::METRIC_LAST, "prohibit".to_owned())];
    assert_eq!(defaults(&wanted, table, Family::V6), prohibit);
}

#[test]
fn each_kind_of_outlet_has_its_rule_and_its_end() {
    let mut config = with_calls(config(), |o| o.end = End::Block);
    add_outlet(&mut config, "block", uplinkd_model::OutletKind::Block);
    add_outlet(&mut config, "main", uplinkd_model::OutletKind::Main);
    let wanted = wanted(&config, &machine(), &[1, 2], None);
    assert_eq!(
        rules(&wanted, Family::V4, 32020..32030),
        [
            "pref 32020 from all fwmark 0x10000000/0xf0000000 lookup 15193 proto 177",
            "pref 32020 from all fwmark 0x20000000/0xf0000000 prohibit proto 177",
            "pref 32020 from all fwmark 0x30000000/0xf0000000 lookup main proto 177",
        ]
    );
    let (default, calls) = (config.reserve.table_outlet(0).0, 15193);
    assert_eq!(
        defaults(&wanted, calls, Family::V4),
        [
            (10, "0001,1".to_owned()),
            (20, "0002,1".to_owned()),
            (Reserve::METRIC_LAST, "prohibit".to_owned())
        ]
    );
    assert_eq!(
        defaults(&wanted, default, Family::V4),
        [
            (10, "0001,3/0002,2".to_owned()),
            (Reserve::METRIC_LAST, "4097,3/4098,2".to_owned())
        ]
    );
}

#[test]
fn a_better_tier_that_waits_stands_behind_the_one_that_serves() {
    let config = with_calls(config(), |o| {
        o.failback.when = uplinkd_model::policy::FailbackWhen::ByHand;
    });
    let wanted = wanted(&config, &machine(), &[1, 2], Some(1));
    assert_eq!(
        defaults(&wanted, config.reserve.table_outlet(1).0, Family::V4),
        [(20, "0002,1".to_owned()), (21, "0001,1".to_owned())]
    );
}

#[test]
fn equal_tiers_share_one_kernel_group_whatever_outlets_there_are() {
    let alone = with_calls(config(), |_| {});
    let mut more = config();
    add_outlet(&mut more, "block", uplinkd_model::OutletKind::Block);
    let more = with_calls(with_calls(more, |_| {}), |_| {});
    let groups = |config: &Config| {
        let nexthops = wanted(config, &machine(), &[1, 2], None).nexthops;
        let group =
            |n: &uplinkd_model::Nexthop| matches!(n.kind, uplinkd_model::NexthopKind::Group(_));
        nexthops.into_values().filter(group).collect::<Vec<_>>()
    };
    assert_eq!(groups(&alone), groups(&more));
    assert_eq!(groups(&alone).len(), 4);
}

#[test]
fn a_change_of_weights_keeps_the_groups_number() {
    let before = wanted(&config(), &machine(), &[1, 2], None);
    let mut config = config();
    let uplinkd_model::OutletKind::Uplinks(outflow) = &mut config.outlets[0].kind else {
        panic!("the default group leads to uplinks")
    };
    outflow.tiers[0].members[0].weight = 7;
    let after = wanted(&config, &machine(), &[1, 2], None);
    assert!(before.nexthops.keys().eq(after.nexthops.keys()));
    assert_ne!(before.nexthops, after.nexthops);
}

#[test]
fn the_last_resort_is_the_default_groups_own_while_it_has_a_link() {
    let mut config = config();
    let uplinkd_model::OutletKind::Uplinks(outflow) = &mut config.outlets[0].kind else {
        panic!("the default group leads to uplinks")
    };
    outflow.tiers[0].members.pop();
    let table = config.reserve.table_outlet(0).0;
    let last = |observed: &Observed| {
        let wanted = wanted(&config, observed, &[2], None);
        defaults(&wanted, table, Family::V4)
    };
    let mut machine = machine();
    assert_eq!(
        last(&machine),
        [(Reserve::METRIC_LAST, "4097,3".to_owned())]
    );
    machine.links.get_mut(&1).unwrap().carrier = false;
    assert_eq!(
        last(&machine),
        [(Reserve::METRIC_LAST, "4098,1".to_owned())]
    );
}

#[test]
fn rules_of_others_before_main_are_copied_in_their_order() {
    let foreign = |priority: u32, table: u32| {
        Rule::lookup(
            Family::V4,
            priority,
            TableId(table),
            uplinkd_model::Proto(0),
        )
    };
    let tunnel = Rule {
        mark: Some(Mark::new(51820, u32::MAX)),
        inverted: true,
        ..foreign(32765, 51820)
    };
    let to_main = Rule {
        suppress_prefix_length: Some(0),
        ..foreign(32764, 254)
    };
    let mut machine = with_rules_of_everybody(machine());
    machine.rules.extend([
        tunnel,
        to_main,
        foreign(32200, 900),
        // Near misses: before our last block, to a table of ours, with more than we can copy.
        foreign(32099, 901),
        foreign(32201, 7001),
        Rule {
            has_more: true,
            ..foreign(32202, 902)
        },
        Rule {
            action: RuleAction::Prohibit,
            ..foreign(32203, 0)
        },
    ]);
    let wanted = wanted(&config(), &machine, &[1, 2], None);
    assert_eq!(
        rules(&wanted, Family::V4, 32000..32020),
        [
            "pref 32000 from all lookup 900 proto 177",
            "pref 32001 not from all fwmark 0xca6c/0xffffffff lookup 51820 proto 177",
        ]
    );
    assert_eq!(wanted.nft.unwrap().foreign_marks, [51820].into());
}

#[test]
fn more_rules_of_others_than_there_is_room_for_are_left_out() {
    let mut machine = machine();
    for n in 0..30 {
        let proto = uplinkd_model::Proto(0);
        let rule = Rule::lookup(Family::V4, 32200 + n, TableId(900 + n), proto);
        machine.rules.push(rule);
    }
    let wanted = wanted(&config(), &machine, &[1, 2], None);
    assert_eq!(rules(&wanted, Family::V4, 32000..32020).len(), 20);
    assert!(
        wanted
            .rules
            .iter()
            .all(|r| r.priority != RulePriority(32020))
    );
}

#[test]
fn only_marks_that_are_compared_whole_are_left_alone() {
    let mut machine = machine();
    let marks = [
        Mark::new(7, u32::MAX),
        Mark::new(0, u32::MAX),
        Mark::new(8, 0xffff),
    ];
    for mark in marks {
        let proto = uplinkd_model::Proto(0);
        let rule = Rule::lookup(Family::V6, 100, TableId(900), proto);
        machine.rules.push(Rule {
            mark: Some(mark),
            ..rule
        });
    }
    let wanted = wanted(&config(), &machine, &[1, 2], None);
    assert_eq!(wanted.nft.unwrap().foreign_marks, [7].into());
}

#[test]
fn the_nft_table_speaks_of_both_families_and_of_sticky_outlets() {
    let sticky = Sticky {
        by: StickyBy::Source,
        idle: Sticky::IDLE_DEFAULT,
    };
    let mut config = with_calls(both_families(config()), |o| o.sticky = Some(sticky));
    config.uplinks[1].ipv6 = None;
    let wanted = wanted(&config, &machine_with_both_families(), &[1, 2], None);
    let table = wanted.nft.unwrap();
    assert_eq!(table.uplinks[0].addresses.len(), 2);
    assert_eq!(table.uplinks[1].addresses.len(), 1);
    assert_eq!(table.uplinks[1].nat6, uplinkd_model::Nat::None);
    let outlets: Vec<_> = table.outlets.iter().map(|o| (o.mark, &o.members)).collect();
    assert_eq!(outlets, [(0, &vec![]), (0x1000_0000, &vec![1, 2])]);
    assert_eq!(config.uplink(&name(1)).map(|u| u.slot.0), Some(1));
}

mod prefixes {
    //! What delegated prefixes add: rules by source, and translation.

    use uplinkd_model::{Nat, prefix::SourcedDefault};

    use super::*;

    /// Two uplinks with a delegated /56 each, and a LAN with a network of the first and a unique local
    /// one.
    fn delegated() -> Observed {
        let mut observed = machine_with_both_families();
        let addresses = ["2001:db8:100:1::1/64", "fd00:0:0:1::1/64"];
        add_lan(&mut observed, &addresses);
        observed.prefixes.sourced = [(1, "2001:db8:100::/56"), (2, "2001:db8:200::/56")]
            .map(|(ifindex, prefix)| SourcedDefault {
                metric: 512,
                prefix: prefix.parse().unwrap(),
                ifindex,
            })
            .into();
        observed
    }

    fn with_nat(nat: Nat) -> Config {
        let mut config = both_families(config());
        for uplink in &mut config.uplinks {
            uplink.ipv6.as_mut().unwrap().nat = nat;
        }
        config
    }

    #[test]
    fn a_delegated_prefix_leaves_by_its_own_uplink_behind_the_policies() {
        let config = with_nat(Nat::Auto);
        let all = wanted(&config, &delegated(), &[1, 2], None);
        let by_prefix = |wanted: &Desired, of: &str| {
            let rules = rules(wanted, Family::V6, 32030..32031);
            rules
                .into_iter()
                .filter(|r| r.contains(of))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            by_prefix(&all, "/56"),
            [
                "pref 32030 from 2001:db8:100::/56 iif lan0 lookup 7001 proto 177",
                "pref 32030 from 2001:db8:100::/56 iif lo lookup 7001 proto 177",
                "pref 32030 from 2001:db8:200::/56 iif lan0 lookup 7002 proto 177",
                "pref 32030 from 2001:db8:200::/56 iif lo lookup 7002 proto 177",
            ]
        );
        // They stay while the line is down: the table is empty then.
        let mut observed = delegated();
        observed.links.get_mut(&1).unwrap().carrier = false;
        let down = wanted(&config, &observed, &[2], None);
        assert_eq!(by_prefix(&down, "/56"), by_prefix(&all, "/56"));
        assert!(
            rules(&all, Family::V4, 32030..32031)
                .iter()
                .all(|r| !r.contains("/56"))
        );
        let mut config = config;
        config.lan.clear();
        let everywhere = wanted(&config, &delegated(), &[1, 2], None);
        assert_eq!(by_prefix(&everywhere, "/56").len(), 2);
        assert!(by_prefix(&everywhere, "iif").is_empty());
    }

    #[test]
    fn what_nat_says_decides_what_is_kept_and_what_is_translated() {
        let of = |nat| {
            let uplinks = wanted(&with_nat(nat), &delegated(), &[1, 2], None);
            let uplinks = uplinks.nft.unwrap().uplinks;
            let words = |u: &uplinkd_model::nft::NftUplink| {
                let kept = u.kept.iter().map(ToString::to_string);
                let translated = u.translations.iter();
                let translated = translated.map(|t| format!("{} as {}", t.network, t.by));
                (u.nat6, kept.chain(translated).collect::<Vec<_>>())
            };
            uplinks.iter().map(words).collect::<Vec<_>>()
        };
        let own = ["2001:db8:100::/56", "2001:db8:200::/56"].map(|p| vec![p.to_owned()]);
        let masquerade = |words| (Nat::Masquerade, words);
        assert_eq!(of(Nat::Auto), own.clone().map(masquerade));
        let [mut first, mut second] = own;
        first.push("fd00:0:0:1::/64 as 2001:db8:100:ff::/64".into());
        second.push("2001:db8:100:1::/64 as 2001:db8:200:1::/64".into());
        second.push("fd00:0:0:1::/64 as 2001:db8:200:ff::/64".into());
        assert_eq!(of(Nat::Prefix), [first, second].map(masquerade));
        for nat in [Nat::Masquerade, Nat::None] {
            assert_eq!(of(nat), [(nat, vec![]), (nat, vec![])]);
        }
    }

    #[test]
    fn a_line_without_an_address_uses_that_of_its_prefix() {
        let config = with_nat(Nat::Prefix);
        let wanted = wanted(&config, &delegated_only(), &[1, 2], None);
        let own: std::net::IpAddr = "2001:db8:100:1::1".parse().unwrap();
        let sources = |family| {
            let routes = wanted.routes.iter();
            let routes = routes.filter(move |r| r.family() == family && r.source == Some(own));
            routes
                .map(|r| (r.table.0, r.destination.prefix_len()))
                .collect::<Vec<_>>()
        };
        let reserve = &config.reserve;
        let slot = config.uplinks[0].slot;
        let tables = [reserve.table_service(slot).0, reserve.table_path(slot).0];
        let mut expected = tables.map(|table| (table, 0));
        expected.sort_unstable();
        assert_eq!(sources(Family::V6), expected);
        assert_eq!(sources(Family::V4), []);
        let uplinks = &wanted.nft.as_ref().unwrap().uplinks;
        assert_eq!(uplinks[0].nat6, Nat::Source(own));
        assert_eq!(uplinks[0].translations.len(), 1);
        assert_eq!(uplinks[0].nat4, Nat::Masquerade);
        assert_eq!(uplinks[1].nat6, Nat::Masquerade);
        // What the file says goes on counting.
        for nat in [Nat::None, Nat::Source("2001:db8:100::9".parse().unwrap())] {
            let wanted = super::wanted(&with_nat(nat), &delegated_only(), &[1, 2], None);
            assert_eq!(wanted.nft.unwrap().uplinks[0].nat6, nat);
        }
    }
}
