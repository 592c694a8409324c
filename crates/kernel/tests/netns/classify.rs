//! Random policies and random packets of every kind, both families, forwarded and the router's own:
//! the outlet's bits that the kernel gives to their connections are those that the model's words ask
//! for. The table goes from one content to the next in place, so that what is put by difference is
//! judged by the very same packets.

mod oracle;
mod send;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use uplinkd_kernel::{Kernel, nft::render};
use uplinkd_model::{
    Classifier, Connection, Family, Mark, Nat, Reserve, Step,
    classify::{Condition, Entry, Field, MapStage, RuleStage, Stage, interface_number},
    connection::TupleKind,
    kernel_state::NftState,
    nft::NftTable,
    policy::{Span, Spans, Sticky, StickyBy, address_number},
};

use crate::{
    classify::oracle::Flow,
    common::{Neighbour, done, in_netns, nft, sh},
    nft::{outlet, state, table, uplink},
    packets::{Net, add_address, net},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const FIELDS: [Field; 11] = [
    Field::Interface,
    Field::Mac,
    Field::Source,
    Field::Destination,
    Field::Protocol,
    Field::SourcePort,
    Field::DestinationPort,
    Field::IcmpType,
    Field::Dscp,
    Field::User,
    Field::Group,
];
/// The MAC addresses of the hosts behind `lan` and `guest`.
const MACS: [u64; 2] = [0x0200_0000_0a01, 0x0200_0000_0b01];
const ROUNDS: usize = 60;
const FLOWS: usize = 80;

/// A small generator of numbers; the seed is printed, and all that is random comes from it.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

fn number(address: &str) -> u128 {
    address_number(address.parse().unwrap())
}

/// The values that packets have, some of each field.
fn values(field: Field, family: Family) -> Vec<u128> {
    let is_v4 = family == Family::V4;
    let numbers = |texts: &[&str]| texts.iter().map(|t| number(t)).collect::<Vec<_>>();
    match field {
        Field::Interface => vec![interface_number("lan"), interface_number("guest")],
        Field::Mac => MACS.map(u128::from).to_vec(),
        Field::Source if is_v4 => numbers(&["10.0.0.2", "10.0.0.77", "10.9.0.2", "100.64.1.2"]),
        Field::Source => numbers(&[
            "2001:db8:a::2",
            "2001:db8:a::77",
            "2001:db8:9::2",
            "2001:db8:1::2",
        ]),
        Field::Destination if is_v4 => numbers(&[
            "198.51.100.1",
            "203.0.113.1",
            "203.0.113.2",
            "203.0.113.200",
        ]),
        Field::Destination => numbers(&[
            "2001:db8:eeee::1",
            "2001:db8:ffff::1",
            "2001:db8:ffff::2",
            "2001:db8:ffff:1::1",
        ]),
        Field::Protocol => vec![if is_v4 { 1 } else { 58 }, 6, 17],
        Field::SourcePort => vec![1, 255, 256, 1024, 50_000],
        Field::DestinationPort => vec![53, 80, 443, 5060, 65_535],
        Field::IcmpType => vec![if is_v4 { 8 } else { 128 }],
        Field::Dscp => vec![0, 8, 40, 46, 63],
        Field::User => vec![0, 255, 256, 1000, 70_000],
        Field::Group => vec![0, 100, 1000],
    }
}

fn span(random: &mut Random, field: Field, family: Family) -> Span {
    let values = values(field, family);
    let first = random.one_of(&values);
    if field == Field::Interface || random.chance(2) {
        return Span::one(first);
    }
    let last = match random.below(3) {
        0 => random.one_of(&values),
        1 => field.max(family),
        _ => first.saturating_add(7).min(field.max(family)),
    };
    Span::new(first.min(last), first.max(last))
}

/// Whether the key or rule names protocols that have what it looks at.
fn names_protocol(fields: &[Field], family: Family, protocol: Option<&Spans>) -> bool {
    let ports = [Field::SourcePort, Field::DestinationPort];
    let icmp = if family == Family::V4 { 1 } else { 58 };
    let only = |allowed: &[u128]| {
        let allowed = Spans::new(allowed.iter().map(|n| Span::one(*n)));
        protocol.is_some_and(|p| allowed.covers(p))
    };
    (!fields.iter().any(|f| ports.contains(f)) || only(&[6, 17]))
        && (!fields.contains(&Field::IcmpType) || only(&[icmp]))
}

/// More entries than a verdict map has: ranges that touch, around addresses that packets have.
fn large_stage(random: &mut Random, family: Family) -> Stage {
    let all = values(Field::Destination, family);
    let first = all[0] & !0xffff;
    let outlets = 1 + random.below(3);
    let entries = (0..400_u128).map(|n| Entry {
        key: vec![Span::new(first + n * 64, first + n * 64 + 63)],
        outlet: 1 + random.below(outlets) as u16,
        policy: 0,
    });
    Stage::Map(MapStage {
        fields: vec![Field::Destination],
        entries: entries.collect(),
    })
}

fn map_stage(random: &mut Random, family: Family) -> Stage {
    if random.chance(12) {
        return large_stage(random, family);
    }
    let how_many = 1 + random.below(4);
    let mut fields: BTreeSet<Field> = (0..how_many).map(|_| random.one_of(&FIELDS)).collect();
    if random.chance(8) {
        // Wider than any key may be.
        fields.extend(&FIELDS[..7]);
    }
    if fields
        .iter()
        .any(|f| [Field::SourcePort, Field::DestinationPort, Field::IcmpType].contains(f))
    {
        fields.insert(Field::Protocol);
    }
    let fields: Vec<Field> = fields.into_iter().collect();
    let is_exact = random.chance(3);
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..random.below(12) {
        let key: Vec<Span> = fields
            .iter()
            .map(|f| match span(random, *f, family) {
                span if is_exact => Span::one(span.first),
                span => span,
            })
            .collect();
        let at = fields.iter().position(|f| *f == Field::Protocol);
        let protocol = at.map(|at| Spans::new([key[at]]));
        let overlaps = |other: &Entry| {
            let mut pairs = other.key.iter().zip(&key);
            pairs.all(|(a, b)| a.first <= b.last && b.first <= a.last)
        };
        if names_protocol(&fields, family, protocol.as_ref()) && !entries.iter().any(overlaps) {
            let outlet = 1 + random.below(4) as u16;
            entries.push(Entry {
                key,
                outlet,
                policy: 0,
            });
        }
    }
    entries.sort();
    Stage::Map(MapStage {
        fields,
        entries: entries.into(),
    })
}

fn spans(random: &mut Random, field: Field, family: Family) -> Spans {
    let mut all: Vec<Span> = (0..1 + random.below(3))
        .map(|_| span(random, field, family))
        .collect();
    if random.chance(4) && field != Field::Interface {
        // So many that they become a set with a name.
        let far = field.max(family).saturating_sub(100);
        all.extend((0..30).map(|n| Span::one(far.saturating_sub(3 * n))));
    }
    Spans::new(all)
}

fn rule_stage(random: &mut Random, family: Family) -> Stage {
    let mut conditions = Vec::new();
    for _ in 0..random.below(4) {
        let marks = [
            Mark::new(0x5, 0x00ff_ffff),
            Mark::new(0x4, 0x4),
            Mark::new(0, 0x00ff_ffff),
            Mark::new(0x10, 0xf0),
        ];
        let any_of = (0..1 + random.below(3))
            .map(|_| random.one_of(&marks))
            .collect();
        conditions.push(match random.below(12) {
            0 => Condition::NotInterface(vec!["lan".to_owned()]),
            1 => Condition::NotMac(spans(random, Field::Mac, family)),
            2 => Condition::NotUser(spans(random, Field::User, family)),
            3 => Condition::NotGroup(spans(random, Field::Group, family)),
            4 => Condition::Mark {
                any_of,
                not: random.chance(2),
            },
            5 => Condition::Domain {
                set: "some".to_owned(),
                not: random.chance(2),
            },
            _ => {
                let field = random.one_of(&FIELDS);
                Condition::Among {
                    field,
                    values: spans(random, field, family),
                }
            }
        });
    }
    let fields: Vec<Field> = conditions
        .iter()
        .filter_map(|c| match c {
            Condition::Among { field, .. } => Some(*field),
            Condition::NotInterface(_)
            | Condition::NotMac(_)
            | Condition::NotUser(_)
            | Condition::NotGroup(_)
            | Condition::Mark { .. }
            | Condition::Domain { .. }
            | Condition::Cgroup { .. } => None,
        })
        .collect();
    let icmp = if family == Family::V4 { 1_u8 } else { 58 };
    let ports = [Field::SourcePort, Field::DestinationPort];
    for (needs, named) in [
        (fields.contains(&Field::IcmpType), vec![icmp]),
        (fields.iter().any(|f| ports.contains(f)), vec![6, 17]),
    ] {
        if needs {
            conditions.push(Condition::Among {
                field: Field::Protocol,
                values: Spans::new(named.into_iter().map(Span::one)),
            });
        }
    }
    Stage::Rule(RuleStage {
        conditions,
        outlet: 1 + random.below(4) as u16,
        policy: 0,
    })
}

fn stages(random: &mut Random, family: Family) -> Vec<Stage> {
    let many = if random.chance(10) { 90 } else { 8 };
    (0..random.below(many))
        .map(|_| {
            if random.chance(2) {
                map_stage(random, family)
            } else {
                rule_stage(random, family)
            }
        })
        .collect()
}

/// Keeps most stages of another content and changes a few, as people do.
fn changed(random: &mut Random, mut stages: Vec<Stage>, family: Family) -> Vec<Stage> {
    for _ in 0..1 + random.below(3) {
        let at = random.below(stages.len() + 1);
        let new = if random.chance(2) {
            map_stage(random, family)
        } else {
            rule_stage(random, family)
        };
        match (random.below(4), stages.get_mut(at)) {
            (0, _) | (_, None) => stages.insert(at, new),
            (1, Some(_)) => drop(stages.remove(at)),
            (2, Some(Stage::Map(map))) if !map.entries.is_empty() => {
                let entry = random.below(map.entries.len());
                if random.chance(2) {
                    map.entries.remove(entry);
                } else {
                    map.entries[entry].outlet = 1 + random.below(4) as u16;
                }
            }
            (_, Some(stage)) => *stage = new,
        }
    }
    stages
}

fn flow(random: &mut Random) -> Flow {
    let family = random.one_of(&FAMILIES);
    let interface = random.one_of(&[None, Some("lan"), Some("guest")]);
    let mut any = |field| random.one_of(&values(field, family));
    let mut flow = Flow {
        family,
        interface,
        mac: MACS[usize::from(interface == Some("guest"))],
        source: any(Field::Source),
        destination: any(Field::Destination),
        protocol: any(Field::Protocol) as u8,
        ports: (
            any(Field::SourcePort) as u16,
            any(Field::DestinationPort) as u16,
        ),
        icmp_type: any(Field::IcmpType) as u8,
        dscp: any(Field::Dscp) as u8,
        mark: 0,
        user: 0,
        group: 0,
    };
    if interface.is_none() {
        (flow.user, flow.group) = (any(Field::User) as u32, any(Field::Group) as u32);
    }
    flow.mark = random.one_of(&[0, 0, 0, 5, 0x14]);
    // The router's own address comes in by no other interface, and LAN addresses are not its own.
    flow.source = match (interface, family) {
        (None, Family::V4) => number("100.64.1.2"),
        (None, Family::V6) => number("2001:db8:1::2"),
        (Some(_), Family::V4) if flow.source == number("100.64.1.2") => number("10.0.0.2"),
        (Some(_), Family::V6) if flow.source == number("2001:db8:1::2") => number("2001:db8:a::2"),
        (Some(_), _) => flow.source,
    };
    flow
}

fn is_of(flow: &Flow, connection: &Connection) -> bool {
    let original = &connection.original;
    let ports = match original.kind {
        TupleKind::Ports {
            source,
            destination,
        } => (source, destination),
        TupleKind::Icmp { id, .. } => (id, 0),
        TupleKind::Other => return false,
    };
    let expected = if flow.protocol == 6 || flow.protocol == 17 {
        flow.ports
    } else {
        (flow.ports.0, 0)
    };
    let tuple = (
        address_number(original.source),
        address_number(original.destination),
    );
    (original.family(), original.protocol) == (flow.family, flow.protocol)
        && tuple == (flow.source, flow.destination)
        && ports == expected
}

/// Two hosts behind the router, and a stranger's table that marks what they send.
fn prepare(net: &Net) -> Neighbour {
    let guest = Neighbour::new();
    sh(&format!(
        "ip link add guest type veth peer name wire netns {}",
        guest.id
    ));
    add_address("10.9.0.1/24", "guest");
    add_address("2001:db8:9::1/64", "guest");
    sh("ip link set guest up");
    guest.run(|| {
        add_address("10.9.0.2/24", "wire");
        add_address("2001:db8:9::2/64", "wire");
        sh("ip link set wire address 02:00:00:00:0b:01 up");
        sh("ip route add default via 10.9.0.1");
        sh("ip -6 route add default via 2001:db8:9::1");
    });
    net.client.run(|| {
        sh("ip link set wire down");
        sh("ip link set wire address 02:00:00:00:0a:01 up");
        add_address("2001:db8:a::2/64", "wire");
        sh("ip route replace default via 10.0.0.1");
        sh("ip -6 route replace default via 2001:db8:a::1");
    });
    for path in [
        "conf/all/rp_filter",
        "conf/lan/rp_filter",
        "conf/guest/rp_filter",
    ] {
        std::fs::write(format!("/proc/sys/net/ipv4/{path}"), "0").unwrap();
    }
    nft(&format!(
        "table inet stranger {{
           chain before {{
             type filter hook prerouting priority -160
             iifname {{ lan, guest }} ip ttl {five} meta mark set 5
             iifname {{ lan, guest }} ip ttl {twenty} meta mark set 0x14
             iifname {{ lan, guest }} ip6 hoplimit {five} meta mark set 5
             iifname {{ lan, guest }} ip6 hoplimit {twenty} meta mark set 0x14
           }}
           chain track {{
             type filter hook forward priority 0
             ct state invalid counter
           }}
         }}",
        five = send::HOPS + 5,
        twenty = send::HOPS + 0x14
    ));
    std::fs::write("/proc/sys/net/netfilter/nf_conntrack_checksum", "0").unwrap();
    guest
}

fn random_table(random: &mut Random, before: &NftTable) -> NftTable {
    let mut next = before.clone();
    let classifier = if random.chance(5) {
        Classifier {
            v4: stages(random, Family::V4),
            v6: stages(random, Family::V6),
            fingerprint: 0,
            ..Classifier::default()
        }
    } else {
        let before = before.classifier.as_ref().clone();
        Classifier {
            v4: changed(random, before.v4, Family::V4),
            v6: changed(random, before.v6, Family::V6),
            fingerprint: 0,
            ..Classifier::default()
        }
    };
    // Counters come, go and get other names. All that these policies decide belongs to the first.
    let mut counted = before.classifier.counted.clone();
    let mut other = Random(random.0);
    if other.chance(3) {
        counted.clear();
        let names = (0..other.below(3)).map(|n| format!("p{n}-{}", other.below(2)));
        counted.extend(names.enumerate());
    }
    next.classifier = Arc::new(Classifier {
        counted,
        fingerprint: random.0,
        ..classifier
    });
    if random.chance(6) {
        next.lan = if next.lan.is_empty() {
            vec!["lan".to_owned(), "guest".to_owned()]
        } else {
            Vec::new()
        };
    }
    surroundings(random, &mut next);
    next
}

/// Changes what is around the policies, in ways that no packet here is judged by.
fn surroundings(random: &mut Random, table: &mut NftTable) {
    if random.chance(4) {
        let addresses = ["192.0.2.7", "192.0.2.8", "2001:db8:77::1"];
        let some = (0..random.below(4)).map(|_| random.one_of(&addresses));
        let some: BTreeSet<_> = some.map(|a| a.parse().unwrap()).collect();
        table.uplinks[0].addresses = some.into_iter().collect();
    }
    if random.chance(4) {
        let natures = [
            Nat::None,
            Nat::Masquerade,
            Nat::Source("192.0.2.9".parse().unwrap()),
        ];
        table.uplinks[1].nat4 = random.one_of(&natures);
        table.uplinks[0].nat6 = random.one_of(&natures[..2]);
    }
    if random.chance(6) {
        if table.uplinks.len() == 3 {
            table.uplinks.pop();
        } else {
            table
                .uplinks
                .push(uplink(3, "wan3", Nat::Masquerade, &["192.0.2.33"]));
        }
    }
    if random.chance(6) {
        let marks = (0..random.below(3)).map(|_| 51_820 + random.below(3) as u32);
        table.foreign_marks = marks.collect();
    }
    if random.chance(3) {
        let code = random.below(table.outlets.len());
        let outlet = &mut table.outlets[code];
        outlet.sticky = match outlet.sticky {
            Some(_) => None,
            None => Some(Sticky {
                by: [StickyBy::Source, StickyBy::SourceDestination][code % 2],
                idle: Duration::from_secs(600),
            }),
        };
        outlet.members = if random.chance(2) {
            vec![1, 2, 3]
        } else {
            vec![2]
        };
    }
}

/// The blocks of a listing, in an order that does not tell when they were made, and so are the
/// elements in them: nft lists those of several parts as they come.
fn blocks(listing: &str) -> BTreeSet<String> {
    let sorted = |block: &str| {
        let block = block.trim().trim_end_matches("\n}");
        let Some((head, elements)) = block.split_once("elements = {") else {
            return block.to_owned();
        };
        let elements = elements.trim_end_matches(|c: char| c.is_whitespace() || c == '}');
        let elements: BTreeSet<_> = elements.split(',').map(str::trim).collect();
        format!("{head}{elements:?}")
    };
    listing.split("\n\n").map(sorted).collect()
}

#[test]
fn every_packet_gets_the_outlet_that_the_policies_say() {
    in_netns(|| {
        let seed = std::env::var("SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or(1);
        println!("SEED={seed}");
        let mut random = Random(seed);
        let net = net();
        let guest = prepare(&net);
        let mut kernel = Kernel::open().unwrap();
        let mut content = table(vec![
            uplink(1, "wan1", Nat::None, &[]),
            uplink(2, "wan2", Nat::None, &[]),
        ]);
        content.outlets = (0..=4).map(outlet).collect();
        content.domains = BTreeMap::from([("some".to_owned(), Duration::from_secs(3600))]);
        done(&mut kernel, [Step::SetNft(content.clone())]);
        sh("nft add element inet uplinkd dns4_some { 203.0.113.2 }");
        sh("nft add element inet uplinkd dns6_some { 2001:db8:ffff::2 }");
        let domain = [number("203.0.113.2"), number("2001:db8:ffff::2")].into();
        let (mut judged, mut matched) = (0, 0);
        // A table that is replaced as a whole has another handle.
        let handle = || sh("nft -a list tables inet");
        let first = handle();
        for round in 0..ROUNDS {
            content = random_table(&mut random, &content);
            done(&mut kernel, [Step::SetNft(content.clone())]);
            assert_eq!(handle(), first, "put in place, round {round}");
            // Somebody's transaction makes the next look a thorough one.
            nft("table inet other { }\ndelete table inet other");
            let holds = NftState::Holds(content.fingerprint());
            assert_eq!(state(&mut kernel), holds, "round {round}");
            sh("conntrack -F");
            let mut flows: Vec<Flow> = Vec::new();
            for _ in 0..FLOWS {
                let flow = flow(&mut random);
                let tuple = |f: &Flow| {
                    let port = if f.protocol == 6 || f.protocol == 17 {
                        f.ports.1
                    } else {
                        0
                    };
                    (
                        f.family,
                        f.source,
                        f.destination,
                        f.protocol,
                        f.ports.0,
                        port,
                    )
                };
                if !flows.iter().any(|f| tuple(f) == tuple(&flow)) {
                    flows.push(flow);
                }
            }
            let of = |name| {
                let flows = flows.iter().filter(|f| f.interface == name);
                flows.cloned().collect::<Vec<_>>()
            };
            send::send(&of(None));
            let (lan, visitors) = (of(Some("lan")), of(Some("guest")));
            net.client.run(move || send::send(&lan));
            guest.run(move || send::send(&visitors));
            let marks = Reserve::default().marks();
            let mut seen = kernel
                .find_connections(&Default::default(), 10_000)
                .unwrap()
                .list;
            for _ in 0..100 {
                if flows.iter().all(|f| seen.iter().any(|c| is_of(f, c))) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
                seen = kernel
                    .find_connections(&Default::default(), 10_000)
                    .unwrap()
                    .list;
            }
            for flow in &flows {
                let connection = seen.iter().find(|c| is_of(flow, c));
                let connection = connection.unwrap_or_else(|| panic!("not tracked: {flow:?}"));
                let expected = oracle::outlet(&content.classifier, flow, &domain);
                let found = (connection.mark & marks.outlet) >> marks.outlet.trailing_zeros();
                assert_eq!(
                    u16::try_from(found).unwrap(),
                    expected,
                    "round {round}, {flow:?}\n{}",
                    render(&content).unwrap()
                );
                judged += 1;
                matched += usize::from(expected != 0);
            }
        }
        println!("{judged} packets, {matched} of them with a policy");
        let in_place = sh("nft -s list table inet uplinkd");
        sh("nft delete table inet uplinkd");
        let mut kernel = Kernel::open().unwrap();
        done(&mut kernel, [Step::SetNft(content.clone())]);
        let whole = sh("nft -s list table inet uplinkd");
        // What fills itself has other elements in it.
        let is_static = |b: &String| !b.contains("flags dynamic,timeout");
        let (a, b) = (blocks(&in_place), blocks(&whole));
        let different: Vec<_> = a
            .symmetric_difference(&b)
            .filter(|b| is_static(b))
            .collect();
        assert!(different.is_empty(), "{different:#?}");
    });
}
