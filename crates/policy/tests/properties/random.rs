//! Random policies and flows out of few values, so that they overlap and meet at their ends.

use std::{net::IpAddr, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use uplinkd_model::{
    Family, Mark,
    classify::Field,
    policy::{
        Addresses, Clause, Outlet, OutletKind, Policy, PolicyFlows, Selector, Span, Spans,
        number_address,
    },
};
use uplinkd_policy::{Flow, Origin};

const INTERFACES: [&str; 3] = ["lan", "guest", "lan0"];
const CGROUPS: [&str; 5] = ["a", "a/b", "ab", "a/b/c", "d"];
const DOMAINS: [&str; 2] = ["zoom", "films"];
const PROTOCOLS: [u128; 9] = [0, 1, 5, 6, 7, 17, 47, 58, 255];
const MINUTES: [u16; 5] = [0, 1, 600, 601, 10_079];
const MARKS: [u32; 4] = [0, 1, 0x11, 0x0010_0000];

/// How many policies are tried. Fewer without optimisation, so that a test run stays short.
pub(crate) const CASES: u32 = if cfg!(debug_assertions) { 1500 } else { 10_000 };

/// Five outlets; the code of one is not its index.
pub(crate) fn outlets() -> Vec<Outlet> {
    let outlet = |index: u16| Outlet {
        code: index * 3 % 5,
        name: format!("outlet-{index}"),
        kind: OutletKind::Block,
    };
    (0..5).map(outlet).collect()
}

/// Some policies of all kinds.
pub(crate) fn policies() -> impl Strategy<Value = Vec<Policy>> {
    prop_oneof![
        3 => vec(policy(clauses()), 0..14),
        2 => vec(policy(vec(address_clause(), 1..3)), 0..24),
        1 => vec(policy(vec(port_clause(), 1..4)), 0..24),
        1 => vec(policy(prop_oneof![clauses(), vec(address_clause(), 1..2)]), 0..24),
    ]
}

/// So many policies that a map can be far back: of addresses alone, and with a code point or a mark.
pub(crate) fn many_policies() -> impl Strategy<Value = Vec<Policy>> {
    let narrow = || {
        let one = number_of(Field::Source, Family::V4).prop_map(|n| {
            let v4 = Spans::new([Span::one(n)]);
            Addresses {
                v4: v4.clone(),
                v6: v4,
            }
        });
        (one, any::<bool>()).prop_map(|(one, by_source)| Clause {
            selector: if by_source {
                Selector::Source(one)
            } else {
                Selector::Destination(one)
            },
            not: false,
            text: String::new(),
        })
    };
    let point = clause(spans(select(vec![0_u128, 21, 46])).prop_map(Selector::Dscp));
    let with_point = (narrow(), point).prop_map(|(address, point)| vec![address, point]);
    let addresses = vec(narrow(), 1..3);
    vec(
        policy(prop_oneof![2 => with_point, 1 => addresses]),
        60..120,
    )
}

fn policy(clauses: impl Strategy<Value = Vec<Clause>>) -> impl Strategy<Value = Policy> {
    (clauses, 0..5_usize).prop_map(|(clauses, outlet)| Policy {
        name: "p".to_owned(),
        clauses,
        outlet,
        flows: PolicyFlows::Keep,
    })
}

fn clauses() -> impl Strategy<Value = Vec<Clause>> {
    vec(clause(selector()), 0..4)
}

fn clause(selector: impl Strategy<Value = Selector>) -> impl Strategy<Value = Clause> {
    (selector, prop::bool::weighted(0.25)).prop_map(|(selector, not)| Clause {
        selector,
        not,
        text: String::new(),
    })
}

fn address_clause() -> impl Strategy<Value = Clause> {
    clause(prop_oneof![
        addresses().prop_map(Selector::Source),
        addresses().prop_map(Selector::Destination),
    ])
}

fn port_clause() -> impl Strategy<Value = Clause> {
    clause(prop_oneof![
        2 => addresses().prop_map(Selector::Destination),
        1 => spans(select(&PROTOCOLS[..])).prop_map(Selector::Protocol),
        2 => spans(number(Field::DestinationPort)).prop_map(Selector::DestinationPort),
        1 => names(&INTERFACES).prop_map(Selector::Interface),
    ])
}

fn selector() -> impl Strategy<Value = Selector> {
    let domain = |name: &str| Selector::Domain {
        names: vec![name.to_owned()],
        set: name.to_owned(),
        timeout: Duration::from_secs(60),
    };
    let icmp = || spans(select(vec![0_u128, 8, 128, 255]));
    let mark = || {
        (
            select(&MARKS[..]),
            select(vec![0x1, 0xff, 0x00ff_00ff, u32::MAX]),
        )
    };
    let minute = || select(&MINUTES[..]).prop_map(u128::from);
    prop_oneof![
        family().prop_map(Selector::Family),
        addresses().prop_map(Selector::Source),
        addresses().prop_map(Selector::Destination),
        spans(select(&PROTOCOLS[..])).prop_map(Selector::Protocol),
        spans(number(Field::SourcePort)).prop_map(Selector::SourcePort),
        spans(number(Field::DestinationPort)).prop_map(Selector::DestinationPort),
        names(&INTERFACES).prop_map(Selector::Interface),
        spans(number(Field::Mac)).prop_map(Selector::Mac),
        spans(number(Field::Dscp)).prop_map(Selector::Dscp),
        vec(mark(), 0..3)
            .prop_map(|m| m.into_iter().map(|(v, mask)| Mark::new(v, mask)).collect())
            .prop_map(Selector::Mark),
        spans(number(Field::User)).prop_map(Selector::User),
        spans(number(Field::Group)).prop_map(Selector::Group),
        names(&CGROUPS).prop_map(Selector::Cgroup),
        (icmp(), icmp()).prop_map(|(v4, v6)| Selector::IcmpType { v4, v6 }),
        select(&DOMAINS[..]).prop_map(domain),
        spans(minute()).prop_map(Selector::Schedule),
    ]
}

fn names(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    vec(select(of).prop_map(str::to_owned), 0..3)
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let of = |family| spans(number_of(Field::Source, family));
    (of(Family::V4), of(Family::V6)).prop_map(|(v4, v6)| Addresses { v4, v6 })
}

/// Sets of few numbers: none, one, ranges.
fn spans(numbers: impl Strategy<Value = u128> + Clone) -> impl Strategy<Value = Spans> {
    let one = numbers.clone().prop_map(Span::one);
    let range = (numbers.clone(), numbers).prop_map(|(a, b)| Span::new(a.min(b), a.max(b)));
    vec(prop_oneof![one, range], 0..4).prop_map(Spans::new)
}

/// Numbers of a field that are of the same size in both families.
fn number(field: Field) -> impl Strategy<Value = u128> + Clone {
    number_of(field, Family::V4)
}

/// Few numbers: at both ends and around a middle.
fn number_of(field: Field, family: Family) -> impl Strategy<Value = u128> + Clone {
    let max = field.max(family);
    let middle = max / 3;
    let values = [
        0,
        1,
        middle,
        middle + 1,
        middle + 2,
        middle + 3,
        middle + 4,
        middle + 7,
        max - 1,
        max,
    ];
    select(values.to_vec())
}

fn family() -> impl Strategy<Value = Family> {
    select(vec![Family::V4, Family::V6])
}

/// A minute of the week at the ends of schedules.
pub(crate) fn minute() -> impl Strategy<Value = u16> {
    select(&MINUTES[..])
}

/// A flow of which everything is known, out of the values that policies speak of.
pub(crate) fn flow() -> impl Strategy<Value = Flow> {
    family().prop_flat_map(flow_of)
}

fn flow_of(family: Family) -> impl Strategy<Value = Flow> {
    let address = || {
        let to_address = move |n| -> IpAddr { number_address(family, n) };
        number_of(Field::Source, family).prop_map(to_address)
    };
    let origin = prop_oneof![
        3 => select(&INTERFACES[..]).prop_map(|i| Origin::Interface(i.to_owned())),
        1 => Just(Origin::Interface("other".to_owned())),
        2 => Just(Origin::Own),
    ];
    let packet = (
        address(),
        address(),
        select(&PROTOCOLS[..]),
        number(Field::SourcePort),
        number(Field::DestinationPort),
        select(vec![0_u8, 7, 8, 128, 255]),
        number(Field::Dscp),
    );
    let sender = (
        origin,
        number(Field::Mac),
        select(&MARKS[..]),
        number(Field::User),
        number(Field::Group),
        select(&CGROUPS[..]),
        vec(select(&DOMAINS[..]), 0..3),
    );
    (packet, sender).prop_map(move |(packet, sender)| {
        let (source, destination, protocol, source_port, destination_port, icmp_type, dscp) =
            packet;
        let (origin, mac, mark, user, group, cgroup, domains) = sender;
        Flow {
            family,
            source: Some(source),
            destination: Some(destination),
            protocol: Some(protocol as u8),
            source_port: Some(source_port as u16),
            destination_port: Some(destination_port as u16),
            icmp_type: Some(icmp_type),
            origin,
            mac: Some(mac as u64),
            dscp: Some(dscp as u8),
            mark,
            user: Some(user as u32),
            group: Some(group as u32),
            cgroup: Some(cgroup.to_owned()),
            domain_sets: Some(domains.into_iter().map(str::to_owned).collect()),
        }
    })
}

/// A flow, and the same with some of its facts unknown.
pub(crate) fn half_known() -> impl Strategy<Value = (Flow, Flow)> {
    (flow(), option::of(any::<u16>())).prop_map(|(whole, forget)| {
        let forget = forget.unwrap_or(1);
        let keep = |bit: u16| forget & (1 << bit) == 0;
        let mut half = whole.clone();
        half.source = half.source.filter(|_| keep(0));
        half.destination = half.destination.filter(|_| keep(1));
        half.protocol = half.protocol.filter(|_| keep(2));
        half.source_port = half.source_port.filter(|_| keep(3));
        half.destination_port = half.destination_port.filter(|_| keep(4));
        half.icmp_type = half.icmp_type.filter(|_| keep(5));
        half.dscp = half.dscp.filter(|_| keep(6));
        half.domain_sets = half.domain_sets.filter(|_| keep(7));
        // What a flow of its kind has not is forgotten first: it would tell of another origin.
        let own = half.origin == Origin::Own;
        half.mac = half.mac.filter(|_| keep(8) && !own);
        half.user = half.user.filter(|_| keep(9) && own);
        half.group = half.group.filter(|_| keep(10) && own);
        half.cgroup = half.cgroup.filter(|_| keep(11) && own);
        if !keep(12) {
            half.origin = Origin::Unknown;
        }
        (whole, half)
    })
}
