//! The text, and what is refused. Whether nft and the kernel agree is tried in `tests/netns/nft.rs`.

use uplinkd_model::{Reserve, Slot};

use super::*;

fn uplink(slot: u16, interface: &str, nat: Nat, addresses: &[&str]) -> NftUplink {
    let reserve = Reserve::default();
    NftUplink {
        slot,
        interface: interface.to_owned(),
        mark_out: reserve.mark_out(Slot(slot)),
        mark_in: reserve.mark_in(Slot(slot)),
        nat,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
    }
}

fn table(uplinks: Vec<NftUplink>) -> NftTable {
    NftTable {
        name: "uplinkd".to_owned(),
        pin_mask: Reserve::default().mark_pin_mask(),
        uplinks,
    }
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

#[test]
fn the_old_table_goes_in_the_same_transaction() {
    let text = render(&table(Vec::new())).unwrap();
    let expected = "table inet uplinkd\ndelete table inet uplinkd\ntable inet uplinkd {\n";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn bits_of_others_are_kept_wherever_a_mark_is_set() {
    let text = render(&table(vec![uplink(1, "wan1", Nat::None, &[])])).unwrap();
    for line in text.lines().filter(|l| l.contains(" set ")) {
        assert!(line.contains(" mark and 0xe0ffffff or 0x"), "{line}");
    }
    assert_eq!(
        block(&text, "chain pin_in_1 {"),
        ["ct mark set ct mark and 0xe0ffffff or 0x11000000"]
    );
}

#[test]
fn each_kind_of_translation_has_its_chain_and_none_has_no_entry() {
    let static_source = Nat::Source("203.0.113.9".parse().unwrap());
    let text = render(&table(vec![
        uplink(1, "wan1", Nat::Masquerade, &["192.0.2.9", "2001:db8::9"]),
        uplink(2, "wan2", static_source, &[]),
        uplink(3, "wan3", Nat::None, &[]),
    ]))
    .unwrap();
    assert_eq!(block(&text, "chain nat_1 {"), ["masquerade"]);
    assert_eq!(block(&text, "chain nat_2 {"), ["snat ip to 203.0.113.9"]);
    assert!(block(&text, "chain nat_3 {").is_empty());
    assert_eq!(
        block(&text, "map nat4 {"),
        [
            "type ifname : verdict",
            "elements = {",
            "\"wan1\" : jump nat_1,",
            "\"wan2\" : jump nat_2,",
            "}",
        ]
    );
    assert!(block(&text, "set own4 {").contains(&"\"wan1\" . 192.0.2.9,"));
    assert!(block(&text, "map adopt_out4 {").contains(&"203.0.113.9 : jump pin_out_2,"));
    assert!(block(&text, "map adopt_in6 {").contains(&"2001:db8::9 : jump pin_in_1,"));
}

#[test]
fn an_address_that_two_uplinks_have_adopts_nothing() {
    let shared = "192.168.1.2";
    let text = render(&table(vec![
        uplink(1, "wan1", Nat::Masquerade, &[shared, "192.0.2.1"]),
        uplink(2, "wan2", Nat::Masquerade, &[shared]),
    ]))
    .unwrap();
    assert_eq!(
        block(&text, "map adopt_out4 {"),
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
    let text = render(&table(vec![
        uplink(1, "wan1", Nat::Masquerade, &[]),
        uplink(2, "wan1", Nat::Masquerade, &[]),
    ]))
    .unwrap();
    assert_eq!(block(&text, "map pin_out {").len(), 4);
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
        let result = render(&table(vec![uplink(1, bad, Nat::None, &[])]));
        assert_eq!(result, Err(RenderError::Interface(bad.to_owned())));
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
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let result = render(&table(vec![uplink(1, "wan1", Nat::Source(v6), &[])]));
    assert_eq!(result, Err(RenderError::Source(v6)));
}
