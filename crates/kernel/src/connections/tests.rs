//! What is written is read again, and no bytes make trouble.

use proptest::prelude::*;

use super::{moving::delete, *};

fn tuple(source: &str, destination: &str, protocol: u8, kind: TupleKind) -> Tuple {
    Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol,
        kind,
    }
}

fn all_kinds() -> Vec<Tuple> {
    let ports = TupleKind::Ports {
        source: 40_000,
        destination: 443,
    };
    let icmp = TupleKind::Icmp {
        icmp_type: 8,
        code: 0,
        id: 77,
    };
    vec![
        tuple("10.0.0.2", "192.0.2.1", 6, ports),
        tuple("2001:db8::2", "2001:db8::1", 17, ports),
        tuple("10.0.0.2", "192.0.2.1", 1, icmp),
        tuple("2001:db8::2", "2001:db8::1", 58, icmp),
        tuple("10.0.0.2", "192.0.2.1", 47, TupleKind::Other),
    ]
}

#[test]
fn what_is_written_is_read_again() {
    for original in all_kinds() {
        let message = delete(&original)
            .nest(cta::REPLY, |b| tuple::put_tuple(b, &original))
            .be32(cta::MARK, 0x2100_0000);
        let expected = Connection {
            original,
            reply: original,
            mark: 0x2100_0000,
        };
        assert_eq!(tuple::connection(message.body()), Some(expected));
    }
}

#[test]
fn a_query_takes_what_agrees_in_everything_that_it_says() {
    let query = |port| ConnectionQuery {
        protocol: Some(6),
        destination_port: Some(port),
        ..ConnectionQuery::default()
    };
    let taken = |query: ConnectionQuery| all_kinds().iter().filter(|t| query.takes(t)).count();
    assert_eq!(taken(ConnectionQuery::default()), 5);
    assert_eq!(taken(query(443)), 1);
    assert_eq!(taken(query(80)), 0);
    let of_a_port = ConnectionQuery {
        source_port: Some(40_000),
        ..ConnectionQuery::default()
    };
    assert_eq!(taken(of_a_port), 2);
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = tuple::connection(&body);
    }
}
