//! A random file: groups, policies, and the outlets that these lead to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use uplinkd_model::{
    Config, Family, Group, Member, Outlet, OutletKind, Policy, Uplink, UplinkName,
    policy::{
        Addresses, Balance, Clause, Conduct, End, Failback, FailbackFlows, FailbackWhen,
        MINUTES_PER_WEEK, Outflow, OutletTier, PolicyFlows, Selector, Span, Spans, Sticky,
        StickyBy, address_number,
    },
};

use super::{LAN, talk};
use crate::kernel::Talk;

/// Codes of outlets, which stay with their names across reloads.
pub type Codes = BTreeMap<String, u16>;

/// Draws groups, policies and outlets into a configuration.
pub fn draw(luck: &mut fastrand::Rng, config: &mut Config, codes: &mut Codes, minute: u16) {
    config.groups = groups(luck, &config.uplinks);
    draw_policies(luck, config, codes, minute);
}

/// Draws policies only, and the outlets that they use.
pub fn draw_policies(
    luck: &mut fastrand::Rng,
    config: &mut Config,
    codes: &mut Codes,
    minute: u16,
) {
    let wishes = if luck.u8(0..4) == 0 {
        0
    } else {
        luck.usize(1..=6)
    };
    let leads: Vec<_> = (0..wishes).map(|_| Lead::draw(luck, config)).collect();
    let policies = |luck: &mut fastrand::Rng, n: usize| Policy {
        name: format!("p{n}"),
        clauses: (0..luck.usize(0..=2))
            .map(|_| clause(luck, minute))
            .collect(),
        outlet: 0,
        flows: if luck.bool() {
            PolicyFlows::Keep
        } else {
            PolicyFlows::Move
        },
    };
    let drawn = leads.into_iter().enumerate();
    let drawn: Vec<_> = drawn
        .map(|(n, lead)| (lead, policies(luck, n + 1)))
        .collect();
    put_outlets(config, codes, drawn);
}

/// Makes the outlets of the policies, each once; leaves out policies that the mark has no room for.
fn put_outlets(config: &mut Config, codes: &mut Codes, drawn: Vec<(Lead, Policy)>) {
    let default = Lead::Group(0, Otherwise::Default);
    config.outlets = vec![default.outlet(config, 0)];
    config.policies.clear();
    for (lead, policy) in drawn {
        let name = lead.name(config);
        let next = u16::try_from(codes.len() + 1).unwrap_or(u16::MAX);
        let known = config.outlets.iter().position(|o| o.name == name);
        let outlet = match known {
            Some(outlet) => outlet,
            None => {
                let code = *codes.get(&name).unwrap_or(&next);
                if code > config.reserve.outlet_max() {
                    continue;
                }
                codes.insert(name, code);
                config.outlets.push(lead.outlet(config, code));
                config.outlets.len() - 1
            }
        };
        config.policies.push(Arc::new(Policy { outlet, ..policy }));
    }
}

/// Where a policy leads: `use` and `otherwise`.
#[derive(Clone, Copy, Debug)]
enum Lead {
    Group(usize, Otherwise),
    Uplink(usize, Otherwise),
    Block,
    Main,
}

#[derive(Clone, Copy, Debug)]
enum Otherwise {
    Default,
    Block,
    Group(usize),
}

impl Lead {
    fn draw(luck: &mut fastrand::Rng, config: &Config) -> Self {
        let (groups, uplinks) = (config.groups.len(), config.uplinks.len());
        let otherwise = match luck.u8(0..5) {
            0 | 1 => Otherwise::Default,
            2 | 3 => Otherwise::Block,
            _ => Otherwise::Group(luck.usize(0..groups)),
        };
        match luck.u8(0..10) {
            0 => Self::Block,
            1 => Self::Main,
            2..=4 => Self::Uplink(luck.usize(0..uplinks), otherwise),
            _ => {
                let group = luck.usize(0..groups);
                match otherwise {
                    Otherwise::Group(n) if n == group => Self::Group(group, Otherwise::Default),
                    Otherwise::Group(_) | Otherwise::Default | Otherwise::Block => {
                        Self::Group(group, otherwise)
                    }
                }
            }
        }
    }

    fn name(self, config: &Config) -> String {
        let of = |name: &str, otherwise| match otherwise {
            Otherwise::Default => name.to_owned(),
            Otherwise::Block => format!("{name}-or-block"),
            Otherwise::Group(n) => format!("{name}-or-{}", config.groups[n].name),
        };
        match self {
            Self::Group(n, otherwise) => of(&config.groups[n].name, otherwise),
            Self::Uplink(n, otherwise) => of(config.uplinks[n].name.as_str(), otherwise),
            Self::Block => "block".to_owned(),
            Self::Main => "main".to_owned(),
        }
    }

    fn outlet(self, config: &Config, code: u16) -> Outlet {
        let (mut tiers, group, otherwise) = match self {
            Self::Group(n, otherwise) => {
                let group = &config.groups[n];
                (tiers_of(group), Some(group), otherwise)
            }
            Self::Uplink(n, otherwise) => {
                let uplink = config.uplinks[n].name.clone();
                (vec![alone(uplink)], None, otherwise)
            }
            Self::Block => return outlet(code, "block", OutletKind::Block),
            Self::Main => return outlet(code, "main", OutletKind::Main),
        };
        let end = match otherwise {
            Otherwise::Group(n) => {
                tiers.extend(tiers_of(&config.groups[n]));
                End::Default
            }
            Otherwise::Default => End::Default,
            Otherwise::Block => End::Block,
        };
        let outflow = Outflow {
            group: group.map(|g| g.name.clone()),
            tiers,
            end: if code == 0 { End::Keep } else { end },
            failback: group.map_or(Failback::default(), |g| g.failback),
            sticky: group.and_then(|g| g.sticky),
        };
        outlet(code, &self.name(config), OutletKind::Uplinks(outflow))
    }
}

fn outlet(code: u16, name: &str, kind: OutletKind) -> Outlet {
    Outlet {
        code,
        name: name.to_owned(),
        kind,
    }
}

fn alone(uplink: UplinkName) -> OutletTier {
    OutletTier {
        group: None,
        rank: 1,
        members: vec![Member {
            uplink,
            weight: 1,
            is_auto: false,
        }],
        conduct: Conduct::default(),
    }
}

fn tiers_of(group: &Group) -> Vec<OutletTier> {
    let tier = |(n, members): (usize, &Vec<Member>)| OutletTier {
        group: Some(group.name.clone()),
        rank: n + 1,
        members: members.clone(),
        conduct: group.conduct,
    };
    group.tiers.iter().enumerate().map(tier).collect()
}

/// One to four groups of one to three tiers; `default` has every uplink, more often than not.
fn groups(luck: &mut fastrand::Rng, uplinks: &[Uplink]) -> Vec<Group> {
    let some = |luck: &mut fastrand::Rng| {
        let mut some: Vec<_> = uplinks.iter().filter(|_| luck.bool()).collect();
        if some.is_empty() {
            some.extend(uplinks.first());
        }
        some
    };
    let all = if luck.u8(0..5) > 0 {
        uplinks.iter().collect()
    } else {
        some(luck)
    };
    let mut groups = vec![group(luck, Group::DEFAULT.into(), all)];
    for n in 1..luck.usize(1..=4) {
        let members = some(luck);
        groups.push(group(luck, format!("g{n}"), members));
    }
    groups
}

fn group(luck: &mut fastrand::Rng, name: String, uplinks: Vec<&Uplink>) -> Group {
    let count = luck.usize(1..=3);
    let is_auto = luck.u8(0..4) == 0;
    let mut tiers: Vec<Vec<Member>> = vec![Vec::new(); count];
    for uplink in uplinks {
        let member = Member {
            uplink: uplink.name.clone(),
            weight: match is_auto {
                true => 1,
                false => luck.choice([1, 2, 3, 256]).unwrap_or(1),
            },
            is_auto,
        };
        tiers[luck.usize(0..count)].push(member);
    }
    tiers.retain(|t| !t.is_empty());
    Group {
        name,
        tiers,
        failback: failback(luck),
        sticky: (luck.u8(0..3) == 0).then_some(Sticky {
            by: StickyBy::Source,
            idle: Sticky::IDLE_DEFAULT,
        }),
        conduct: Conduct {
            // Round-trip times are thrown by dice here: who is nearest would never be settled.
            balance: match luck.u8(0..6) {
                0 if !is_auto => Balance::LeastUsed,
                _ => Balance::Weights,
            },
            ..Conduct::default()
        },
    }
}

fn failback(luck: &mut fastrand::Rng) -> Failback {
    let seconds = luck.choice([1, 3, 8, 20, 600]).unwrap_or(1);
    let flows = [
        FailbackFlows::Keep,
        FailbackFlows::Drain,
        FailbackFlows::Move,
    ];
    Failback {
        when: match luck.u8(0..6) {
            0..=2 => FailbackWhen::AtOnce,
            3 | 4 => FailbackWhen::After(Duration::from_secs(seconds)),
            _ => FailbackWhen::ByHand,
        },
        flows: luck.choice(flows).unwrap_or_default(),
    }
}

fn clause(luck: &mut fastrand::Rng, minute: u16) -> Clause {
    let selector = selector(luck, minute);
    let not = luck.u8(0..4) == 0;
    Clause {
        text: format!("{}{selector:?}", if not { "not " } else { "" }),
        selector,
        not,
    }
}

/// Few values of few kinds, so that policies meet traffic and each other.
fn selector(luck: &mut fastrand::Rng, minute: u16) -> Selector {
    let numbers = |numbers: &[u128]| Spans::new(numbers.iter().map(|n| Span::one(*n)));
    let mut of = |who: fn(&Talk) -> std::net::IpAddr| {
        let (v4, v6) = (talk(luck, Family::V4), talk(luck, Family::V6));
        Addresses {
            v4: numbers(&[address_number(who(&v4))]),
            v6: numbers(&[address_number(who(&v6))]),
        }
    };
    let (source, destination) = (of(Talk::client_address), of(Talk::server_address));
    let any = talk(luck, Family::V4);
    match luck.u8(0..10) {
        0 | 1 => Selector::Source(source),
        2 | 3 => Selector::Destination(destination),
        4 => Selector::Protocol(numbers(&[any.protocol.into()])),
        5 => Selector::DestinationPort(numbers(&[any.port.into()])),
        6 => Selector::Interface(vec![LAN.to_owned()]),
        7 => Selector::Family(if luck.bool() { Family::V4 } else { Family::V6 }),
        _ => {
            let week = u32::from(MINUTES_PER_WEEK);
            let first = (u32::from(minute) + week - 3 + luck.u32(0..8)) % week;
            let last = (first + luck.u32(0..4)).min(week - 1);
            Selector::Schedule(Spans::new([Span::new(first, last)]))
        }
    }
}
