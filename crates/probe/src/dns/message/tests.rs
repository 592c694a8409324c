use proptest::prelude::*;

use super::*;

const WANTED: Wanted<'static> = Wanted {
    id: 0x1234,
    name: "www.Example.org",
    family: Family::V4,
};

/// The answer of a server: the question, then these records, with the name of the question as owner
/// by a pointer.
fn answer(records: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = query(WANTED).unwrap();
    bytes[2] |= RESPONSE;
    bytes[7] = u8::try_from(records.len()).unwrap();
    for (kind, data) in records {
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(*data);
    }
    bytes
}

fn addresses(message: &[u8]) -> Option<Vec<IpAddr>> {
    response(message, WANTED).map(|r| r.addresses)
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

#[test]
fn a_query_is_what_dig_sends() {
    // `dig +noedns +noad A example.org`, with id 0x1234.
    let dig = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
    let wanted = Wanted {
        name: "example.org",
        ..WANTED
    };
    assert_eq!(query(wanted).unwrap(), dig);
}

#[test]
fn what_is_no_name_is_not_asked() {
    let long = format!("{}.example", "a".repeat(64));
    let many = "a.".repeat(130);
    for name in ["", "a..b", &long, &many] {
        assert_eq!(query(Wanted { name, ..WANTED }), None, "{name}");
    }
}

#[test]
fn the_addresses_of_an_answer_are_read() {
    let message = answer(&[(1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])]);
    let read = response(&message, WANTED).unwrap();
    assert_eq!(read.addresses, [address(1), address(2)]);
    assert_eq!((read.ttl, read.code), (Duration::from_secs(60), 0));
    // Records of other kinds, and of the other family, are passed over.
    let mixed = answer(&[(16, b"\x03txt"), (28, &[0; 16]), (1, &[192, 0, 2, 3])]);
    assert_eq!(addresses(&mixed), Some(vec![address(3)]));
}

#[test]
fn aliases_are_followed_and_strangers_are_not() {
    // www.example.org is an alias of a.example.org, whose name ends by a pointer to `example`.
    let mut message = answer(&[(CNAME, &[1, b'a', 0xc0, 16])]);
    let owner = message.len() - 4;
    message[7] = 3;
    message.extend([
        0xc0,
        u8::try_from(owner).unwrap(),
        0,
        1,
        0,
        1,
        0,
        0,
        0,
        5,
        0,
        4,
        192,
        0,
        2,
        7,
    ]);
    // Somebody else's address in the same message.
    message.extend([1, b'x', 0, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 8]);
    let read = response(&message, WANTED).unwrap();
    assert_eq!(read.addresses, [address(7)]);
    assert_eq!(read.ttl, Duration::from_secs(5));
}

#[test]
fn an_answer_to_another_question_is_none() {
    let good = answer(&[(1, &[192, 0, 2, 1])]);
    assert!(addresses(&good).is_some());
    let other = |wanted| response(&good, wanted).is_some();
    assert!(!other(Wanted {
        id: 0x1235,
        ..WANTED
    }));
    assert!(!other(Wanted {
        name: "www.example.com",
        ..WANTED
    }));
    assert!(!other(Wanted {
        name: "wwww.example.org",
        ..WANTED
    }));
    assert!(!other(Wanted {
        family: Family::V6,
        ..WANTED
    }));
    // The question itself, come back.
    assert!(response(&query(WANTED).unwrap(), WANTED).is_none());
}

#[test]
fn circles_of_pointers_and_of_aliases_end() {
    // An owner that points to itself, and one that points ahead.
    for to in [33, 40] {
        let mut message = answer(&[(1, &[192, 0, 2, 1])]);
        message[34] = to;
        assert_eq!(addresses(&message), None);
    }
    // An alias of itself.
    assert_eq!(addresses(&answer(&[(CNAME, &[0xc0, 12])])), Some(vec![]));
}

#[test]
fn only_an_answer_that_says_so_may_be_cut_short() {
    let good = answer(&[(1, &[192, 0, 2, 1]), (1, &[192, 0, 2, 2])]);
    for length in 0..good.len() {
        assert_eq!(addresses(&good[..length]), None, "{length}");
    }
    let mut cut = good[..good.len() - 1].to_vec();
    cut[2] |= TRUNCATED;
    assert_eq!(addresses(&cut), Some(vec![address(1)]));
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = response(&bytes, WANTED);
    }

    /// Whatever is done to an answer, what is believed is to the question: its number and its name
    /// are untouched.
    #[test]
    fn a_changed_answer_is_believed_only_where_it_fits(
        at in 0_usize..64, to in any::<u8>(), cut in 0_usize..80
    ) {
        let good = answer(&[(CNAME, &[1, b'a', 0xc0, 16]), (1, &[192, 0, 2, 1])]);
        let mut bad = good.clone();
        if let Some(byte) = bad.get_mut(at) {
            *byte = to;
        }
        bad.truncate(cut.max(1));
        if response(&bad, WANTED).is_some() {
            prop_assert_eq!(&bad[..2], &good[..2]);
            let name = |m: &[u8]| m[12..33].to_ascii_lowercase();
            prop_assert_eq!(name(&bad), name(&good));
        }
    }
}
