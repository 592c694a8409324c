//! How long compiling takes for many policies: `cargo run --release -p uplinkd-policy --example scale`.

use std::time::Instant;

use uplinkd_model::{
    Policy,
    classify::Stage,
    policy::{
        Addresses, Clause, Outlet, OutletKind, PolicyFlows, Selector, Span, Spans, number_address,
    },
};
use uplinkd_policy::{Evaluator, Flow, compile, shadows};

const POLICIES: usize = 10_000;

fn main() {
    let prefix = |index: usize| {
        let first =
            0x0a00_0000 + (index as u32).wrapping_mul(2_654_435_761) % 0x00ff_ff00 / 16 * 16;
        Span::new(first, first + 15)
    };
    let prefixes = |policy: usize, count: usize| {
        let spans = (0..count).map(|n| prefix(policy * count + n));
        Addresses {
            v4: Spans::new(spans),
            v6: Spans::default(),
        }
    };
    let wide = |policy: usize| {
        let bits = (policy % 16) as u32;
        let first = (policy as u32).wrapping_mul(2_654_435_761) >> (8 + bits) << (8 + bits);
        Spans::new([Span::new(first, first | ((1 << (8 + bits)) - 1))])
    };
    let port = |policy: usize| Spans::new([Span::one(1024 + (policy % 5000) as u16)]);
    let tcp = || Selector::Protocol(Spans::new([Span::one(6_u8)]));
    show("10 prefixes each", |p| {
        vec![Selector::Destination(prefixes(p, 10))]
    });
    show("1 prefix each", |p| vec![Selector::Source(prefixes(p, 1))]);
    show("nested prefixes", |p| {
        vec![Selector::Source(Addresses {
            v4: wide(p),
            v6: Spans::default(),
        })]
    });
    show("3 lists of 30,000", |p| match p {
        0..3 => vec![Selector::Destination(prefixes(p, 30_000))],
        _ => vec![Selector::Destination(prefixes(p, 1))],
    });
    show("source and destination", |p| {
        vec![
            Selector::Source(prefixes(p, 1)),
            Selector::Destination(prefixes(p + 7, 10)),
        ]
    });
    show("destination, TCP port", |p| {
        vec![
            Selector::Destination(prefixes(p, 10)),
            tcp(),
            Selector::DestinationPort(port(p)),
        ]
    });
    show("port of any protocol", |p| {
        vec![Selector::DestinationPort(port(p))]
    });
    show("few destinations, ports", |p| {
        let few = prefixes(p % 10, 1);
        vec![
            Selector::Destination(few),
            tcp(),
            Selector::DestinationPort(port(p / 10)),
        ]
    });
    show("nested, with port", |p| {
        let nested = Addresses {
            v4: wide(p),
            v6: Spans::default(),
        };
        vec![
            Selector::Destination(nested),
            tcp(),
            Selector::DestinationPort(port(p % 50)),
        ]
    });
    show("two shapes in turn", |p| match p % 2 {
        0 => vec![Selector::Source(prefixes(p, 10))],
        _ => vec![
            Selector::Source(prefixes(p, 10)),
            Selector::Destination(prefixes(p, 3)),
        ],
    });
    show("source, destination in turn", |p| match p % 2 {
        0 => vec![Selector::Source(prefixes(p, 10))],
        _ => vec![Selector::Destination(prefixes(p, 10))],
    });
    show("a rule for every ten", |p| match p % 10 {
        0 => vec![Selector::Source(prefixes(p, 10)), Selector::Dscp(port(0))],
        _ => vec![Selector::Source(prefixes(p, 10))],
    });
    show("marks", |p| {
        vec![Selector::Mark(vec![uplinkd_model::Mark::new(
            p as u32,
            u32::MAX,
        )])]
    });
}

#[expect(clippy::disallowed_methods, reason = "this program measures")]
#[expect(clippy::print_stdout, reason = "its purpose")]
fn show(title: &str, selectors: impl Fn(usize) -> Vec<Selector>) {
    let outlets: Vec<Outlet> = (0..10_u16)
        .map(|code| Outlet {
            code,
            name: String::new(),
            kind: OutletKind::Main,
        })
        .collect();
    let clause = |selector| Clause {
        selector,
        not: false,
        text: String::new(),
    };
    let policies: Vec<Policy> = (0..POLICIES)
        .map(|index| Policy {
            name: format!("policy-{index}"),
            clauses: selectors(index).into_iter().map(clause).collect(),
            outlet: index % 10,
            flows: PolicyFlows::Keep,
        })
        .collect();
    let begin = Instant::now();
    let classifier = compile(&policies, &outlets, 0);
    let compiling = begin.elapsed();
    let begin = Instant::now();
    let found = shadows(&policies).len();
    let shadowing = begin.elapsed();
    let entries: usize = classifier
        .v4
        .iter()
        .map(|s| match s {
            Stage::Map(map) => map.entries.len(),
            Stage::Rule(_) => 0,
        })
        .sum();
    let evaluator = Evaluator::new(&classifier);
    let begin = Instant::now();
    for index in 0..1000_u32 {
        let mut flow = Flow::unknown(uplinkd_model::Family::V4);
        let address = |salt: u32| {
            let number = 0x0a00_0000 + index.wrapping_mul(salt) % 0x00ff_ff00;
            Some(number_address(flow.family, number.into()))
        };
        (flow.source, flow.destination) = (address(2_654_435_761), address(40_503));
        (flow.protocol, flow.dscp) = (Some(6), Some(0));
        (flow.source_port, flow.destination_port) = (Some(5), Some(1024));
        std::hint::black_box(evaluator.evaluate(&flow));
    }
    let asking = begin.elapsed() / 1000;
    println!(
        "{title:28} compile {compiling:>10.1?}  stages {:5}  entries {entries:6}  \
         shadows {shadowing:>10.1?} ({found:5})  evaluate {asking:>8.1?}",
        classifier.v4.len(),
    );
}
