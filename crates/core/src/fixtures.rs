//! Two uplinks as configuration and as a machine, for tests.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use uplinkd_model::{
    Access, Config, Family, Gateway, Group, Limits, Link, Member, Nat, Observed, Outlet,
    OutletKind, ProbeSpec, Rates, Reserve, Slot, TableId, Target, Uplink, UplinkName,
    kernel_state::{Device, ForeignDefault, NftState},
    policy::{Clause, Conduct, End, Failback, Outflow, OutletTier, Policy, PolicyFlows, Selector},
    prefix::SourcedDefault,
};

pub(crate) fn name(n: u16) -> UplinkName {
    UplinkName::new(&format!("isp{n}")).unwrap()
}

pub(crate) fn member(n: u16, weight: u16) -> Member {
    Member {
        uplink: name(n),
        weight,
        is_auto: false,
    }
}

/// How a family is used: announced, gateway by itself, masqueraded, probed every 100 ms.
pub(crate) fn access(target: IpAddr) -> Access {
    Access {
        expected: true,
        gateway: Gateway::Auto,
        nat: Nat::Masquerade,
        prefix: Default::default(),
        probe: ProbeSpec {
            targets: vec![Target::Gateway, Target::Icmp(target)],
            quorum: 1,
            interval: Duration::from_millis(100),
            timeout: Duration::from_millis(100),
            fall: 3,
            rise: 5,
            loss: Limits::default(),
            damping: None,
            ..ProbeSpec::default()
        },
    }
}

/// Two uplinks, isp1 and isp2, on wan1 and wan2, IPv4 only, weights 3 and 2.
pub(crate) fn config() -> Config {
    let uplink = |n: u16| Uplink {
        name: name(n),
        slot: Slot(n),
        interface: format!("wan{n}"),
        rates: Rates::default(),
        yields: true,
        budget: None,
        ipv4: Some(access([198, 18, 0, 1].into())),
        ipv6: None,
    };
    let tiers = vec![vec![member(1, 3), member(2, 2)]];
    let outflow = outflow(Group::DEFAULT, &tiers, End::Keep);
    Config {
        lan: vec!["lan0".into()],
        deprecate: true,
        advertise: false,
        uplinks: vec![uplink(1), uplink(2)],
        groups: vec![Group {
            name: Group::DEFAULT.into(),
            tiers,
            failback: Failback::default(),
            sticky: None,
            conduct: Conduct::default(),
        }],
        policies: Vec::new(),
        outlets: vec![Outlet {
            code: 0,
            name: Group::DEFAULT.into(),
            kind: OutletKind::Uplinks(outflow),
        }],
        reserve: Reserve::default(),
    }
}

pub(crate) fn outflow(group: &str, tiers: &[Vec<Member>], end: End) -> Outflow {
    let tier = |(n, members): (usize, &Vec<Member>)| OutletTier {
        group: Some(group.to_owned()),
        rank: n + 1,
        members: members.clone(),
        conduct: Conduct::default(),
    };
    Outflow {
        group: Some(group.to_owned()),
        tiers: tiers.iter().enumerate().map(tier).collect(),
        end,
        failback: Failback::default(),
        sticky: None,
    }
}

/// The same with IPv6 as well, announced in the file.
pub(crate) fn both_families(mut config: Config) -> Config {
    for uplink in &mut config.uplinks {
        uplink.ipv6 = Some(access("2001:db8:ffff::1".parse().unwrap()));
    }
    config
}

/// The same with one more outlet, `calls`: isp1, then isp2.
pub(crate) fn with_calls(mut config: Config, change: impl FnOnce(&mut Outflow)) -> Config {
    let tiers = [vec![member(1, 1)], vec![member(2, 1)]];
    let mut outflow = outflow("calls", &tiers, End::Default);
    change(&mut outflow);
    config.groups.push(Group {
        name: "calls".into(),
        tiers: tiers.to_vec(),
        failback: outflow.failback,
        sticky: outflow.sticky,
        conduct: outflow.tiers[0].conduct,
    });
    add_outlet(&mut config, "calls", OutletKind::Uplinks(outflow));
    config
}

/// Adds an outlet under the next code.
pub(crate) fn add_outlet(config: &mut Config, name: &str, kind: OutletKind) {
    config.outlets.push(Outlet {
        code: u16::try_from(config.outlets.len()).unwrap(),
        name: name.into(),
        kind,
    });
}

/// Adds a policy with these conditions.
pub(crate) fn add_policy(config: &mut Config, name: &str, selectors: Vec<Selector>, outlet: usize) {
    let clause = |selector: Selector| Clause {
        text: format!("{selector:?}"),
        selector,
        not: false,
    };
    config.policies.push(Arc::new(Policy {
        name: name.into(),
        clauses: selectors.into_iter().map(clause).collect(),
        outlet,
        flows: PolicyFlows::Keep,
    }));
}

/// Two uplinks with carrier, an IPv4 address and a default route of somebody else.
pub(crate) fn machine() -> Observed {
    let link = |index: u32| Link {
        device: Device {
            index,
            name: format!("wan{index}"),
        },
        alternative_names: BTreeSet::new(),
        point_to_point: false,
        admin_up: true,
        carrier: true,
        addresses: vec![format!("100.64.{index}.2/24").parse().unwrap()],
    };
    let default = |index: u32| ForeignDefault {
        ifindex: index,
        gateway: Some(IpAddr::from([100, 64, u8::try_from(index).unwrap(), 1])),
        family: Family::V4,
        table: TableId::MAIN,
        metric: index * 100,
        on_link: false,
        advertised: false,
        expires_in: None,
    };
    Observed {
        links: [1, 2].into_iter().map(|n| (n, link(n))).collect(),
        foreign_defaults: vec![default(1), default(2)],
        nft: Some(NftState::Absent),
        ..Observed::default()
    }
}

/// The same with an IPv6 address and a link-local gateway on each.
pub(crate) fn machine_with_both_families() -> Observed {
    let mut observed = machine();
    for (index, link) in &mut observed.links {
        let address = format!("2001:db8:{index}::2/64");
        link.addresses.push(address.parse().unwrap());
        observed.foreign_defaults.push(ForeignDefault {
            ifindex: *index,
            gateway: Some("fe80::1".parse().unwrap()),
            family: Family::V6,
            table: TableId::MAIN,
            metric: 1024,
            on_link: false,
            advertised: true,
            expires_in: None,
        });
    }
    observed
}

/// Adds `lan0`, with index 3 and these addresses.
pub(crate) fn add_lan(observed: &mut Observed, addresses: &[&str]) {
    let lan = Link {
        device: Device {
            index: 3,
            name: "lan0".into(),
        },
        alternative_names: BTreeSet::new(),
        point_to_point: false,
        admin_up: true,
        carrier: true,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    };
    observed.links.insert(3, lan);
}

/// The prefix that the provider of isp1 delegates in [`delegated_only`].
pub(crate) const DELEGATED: &str = "2001:db8:100::/56";

/// The same, except that the first provider gives the line itself no address: it delegates a prefix, of
/// which `lan0` has a network beside a unique local one.
pub(crate) fn delegated_only() -> Observed {
    let mut observed = machine_with_both_families();
    let line = observed.links.get_mut(&1).unwrap();
    line.addresses.retain(|a| Family::of_net(*a) == Family::V4);
    add_lan(&mut observed, &["2001:db8:100:1::1/64", "fd00:0:0:1::1/64"]);
    observed.link_local = [1, 2, 3].into();
    observed.prefixes.sourced.push(SourcedDefault {
        metric: 512,
        prefix: DELEGATED.parse().unwrap(),
        ifindex: 1,
    });
    observed
}

/// Numbers that are the same in every run (Knuth's MMIX generator).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// From zero on, so many.
    pub(crate) fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
