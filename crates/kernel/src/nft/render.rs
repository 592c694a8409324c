//! [`NftTable`] as text for `nft -f -`. Pure.
//!
//! What the table does, with F for the bits that pin a connection:
//!
//! ```text
//! prerouting, output   connection without F, older than us    -> adopt: by its addresses
//! prerouting           new connection from an uplink          -> pin_in:  ct mark
//! prerouting, output   connection with F                      -> restore: meta mark
//! postrouting          connection without F leaves by uplink  -> pin_out: ct mark
//! nat                  leaves by an uplink                    -> its source address is replaced
//! ```
//!
//! Bits outside F belong to others and pass unchanged. Kernels before 6.14 cannot combine two
//! registers (`ct mark and X or meta mark and Y`), so a mark is restored by a verdict map that jumps
//! to a chain with constants. Everything is looked up in maps: the work for a packet does not grow
//! with the number of uplinks.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use uplinkd_model::{
    intent::Nat,
    nft::{NftTable, NftUplink},
};

/// The longest interface name that the kernel takes.
const INTERFACE_LENGTH_MAX: usize = 15;

/// Why a table cannot be written as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The table's name is not one that nft understands.
    #[error("`{}` is not a usable name for an nft table", .0.escape_debug())]
    Table(String),
    /// An interface's name could be read as something else by nft.
    #[error("`{}` is not an interface name that can be written for nft", .0.escape_debug())]
    Interface(String),
    /// IPv4 sources cannot be replaced by an IPv6 address.
    #[error("{0} is not an IPv4 address, and only IPv4 sources are replaced")]
    Source(IpAddr),
}

/// The whole table as one transaction that replaces what is there.
///
/// # Errors
/// When a name in it could end a quotation or is otherwise unfit.
pub fn render(table: &NftTable) -> Result<String, RenderError> {
    check(table)?;
    let name = &table.name;
    // The first line makes the second one possible where there is no table yet.
    let mut text = format!("table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n");
    for uplink in &table.uplinks {
        chains(&mut text, table.pin_mask, uplink);
    }
    maps(&mut text, &table.uplinks);
    text.push_str(&hooks(table.pin_mask));
    text.push_str("}\n");
    Ok(text)
}

fn check(table: &NftTable) -> Result<(), RenderError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !table.name.starts_with(|c: char| c.is_ascii_alphabetic())
        || !table.name.chars().all(is_word)
    {
        return Err(RenderError::Table(table.name.clone()));
    }
    for uplink in &table.uplinks {
        let name = &uplink.interface;
        // A quotation mark ends the name for nft, a star makes it a pattern, and a backslash
        // takes the meaning of a star away.
        let is_unfit = |c: char| c.is_control() || c.is_whitespace() || "\"*\\/".contains(c);
        if name.is_empty() || name.len() > INTERFACE_LENGTH_MAX || name.contains(is_unfit) {
            return Err(RenderError::Interface(name.clone()));
        }
        if let Nat::Source(address @ IpAddr::V6(_)) = uplink.nat {
            return Err(RenderError::Source(address));
        }
    }
    Ok(())
}

/// The chains of one uplink. Verdict maps jump to them by name.
fn chains(text: &mut String, pin_mask: u32, uplink: &NftUplink) {
    let slot = uplink.slot;
    let others = !pin_mask;
    let set = |what: &str, value: u32| {
        format!("{what} mark set {what} mark and {others:#010x} or {value:#010x}")
    };
    let (out, inbound) = (uplink.mark_out.value, uplink.mark_in.value);
    let mut chain = |name: &str, statements: &[String]| {
        let _ = writeln!(text, "\tchain {name}_{slot} {{");
        for statement in statements {
            let _ = writeln!(text, "\t\t{statement}");
        }
        text.push_str("\t}\n");
    };
    chain("pin_out", &[set("ct", out)]);
    // Not the packet itself: it is on its way in, and its mark would lead it out again.
    chain("pin_in", &[set("ct", inbound)]);
    chain("restore_out", &[set("meta", out)]);
    chain("restore_in", &[set("meta", inbound)]);
    match uplink.nat {
        Nat::Masquerade => chain("nat", &["masquerade".to_owned()]),
        Nat::Source(address) => chain("nat", &[format!("snat ip to {address}")]),
        Nat::None => {}
    }
}

/// The sets and maps.
fn maps(text: &mut String, uplinks: &[NftUplink]) {
    let quoted = |u: &NftUplink| format!("\"{}\"", u.interface);
    let by_interface = |chain: &str, some: fn(&NftUplink) -> bool| {
        let entry = |u: &NftUplink| (quoted(u), format!("jump {chain}_{}", u.slot));
        first_of_each(uplinks.iter().filter(|u| some(u)).map(entry))
    };
    let marks = uplinks.iter().flat_map(|u| {
        [(u.mark_out.value, "out"), (u.mark_in.value, "in")].map(|(value, direction)| {
            let chain = format!("jump restore_{direction}_{}", u.slot);
            (format!("{value:#010x}"), chain)
        })
    });
    let own = uplinks.iter().flat_map(|u| {
        let v4 = u.addresses.iter().filter(|a| a.is_ipv4());
        v4.map(move |a| (format!("{} . {a}", quoted(u)), String::new()))
    });
    let names = uplinks.iter().map(|u| (quoted(u), String::new()));
    collection(text, "set uplinks", "ifname", first_of_each(names));
    collection(text, "set own4", "ifname . ipv4_addr", first_of_each(own));
    collection(text, "map restore", "mark : verdict", first_of_each(marks));
    let any = |_: &NftUplink| true;
    let is_translated = |u: &NftUplink| u.nat != Nat::None;
    for (name, entries) in [
        ("map pin_out", by_interface("pin_out", any)),
        ("map pin_in", by_interface("pin_in", any)),
        ("map nat4", by_interface("nat", is_translated)),
    ] {
        collection(text, name, "ifname : verdict", entries);
    }
    for direction in ["out", "in"] {
        for (digit, key_type, is_family) in [
            (4, "ipv4_addr", IpAddr::is_ipv4 as fn(&IpAddr) -> bool),
            (6, "ipv6_addr", IpAddr::is_ipv6),
        ] {
            let name = format!("map adopt_{direction}{digit}");
            let entries = adoptions(uplinks, direction, is_family);
            collection(text, &name, &format!("{key_type} : verdict"), entries);
        }
    }
}

/// The addresses by which a connection older than us is recognised. One that two uplinks have says
/// nothing and is left out; such a connection is pinned by the interface it leaves by.
fn adoptions(
    uplinks: &[NftUplink],
    direction: &str,
    is_family: fn(&IpAddr) -> bool,
) -> BTreeMap<String, String> {
    let mut slots: BTreeMap<IpAddr, Option<u16>> = BTreeMap::new();
    for uplink in uplinks {
        let translated = match uplink.nat {
            Nat::Source(address) => Some(address),
            Nat::Masquerade | Nat::None => None,
        };
        for address in uplink.addresses.iter().copied().chain(translated) {
            slots
                .entry(address)
                .and_modify(|slot| *slot = slot.filter(|s| *s == uplink.slot))
                .or_insert(Some(uplink.slot));
        }
    }
    slots
        .into_iter()
        .filter(|(address, _)| is_family(address))
        .filter_map(|(address, slot)| {
            Some((
                address.to_string(),
                format!("jump pin_{direction}_{}", slot?),
            ))
        })
        .collect()
}

/// nft refuses a key that is there twice with different values, so the first one holds.
fn first_of_each(entries: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (key, value) in entries {
        kept.entry(key).or_insert(value);
    }
    kept
}

/// A set (whose entries have no values) or a map. An empty one has no `elements`, for nft's sake.
fn collection(text: &mut String, name: &str, of: &str, entries: BTreeMap<String, String>) {
    let _ = writeln!(text, "\t{name} {{\n\t\ttype {of}");
    if !entries.is_empty() {
        text.push_str("\t\telements = {\n");
        for (key, value) in entries {
            let colon = if value.is_empty() { "" } else { " : " };
            let _ = writeln!(text, "\t\t\t{key}{colon}{value},");
        }
        text.push_str("\t\t}\n");
    }
    text.push_str("\t}\n");
}

/// The chains that the kernel enters, which are the same for any uplinks.
///
/// What arrives on an uplink is on its way in, whoever began the connection, and must not be led out
/// by the uplink again: it is accepted before the mark is restored. Its way may be known only to a
/// rule that is asked after ours, such as a VPN's with a table of its own. In `nat`, an uplink's own
/// addresses are never rewritten when they leave by it.
fn hooks(pin_mask: u32) -> String {
    let pin = format!("{pin_mask:#010x}");
    format!(
        "\tchain adopt {{
\t\tct reply ip daddr vmap @adopt_out4
\t\tct reply ip6 daddr vmap @adopt_out6
\t\tiifname @uplinks ct direction original ct original ip daddr vmap @adopt_in4
\t\tiifname @uplinks ct direction original ct original ip6 daddr vmap @adopt_in6
\t}}
\tchain prerouting {{
\t\ttype filter hook prerouting priority mangle; policy accept;
\t\tct state new ct mark and {pin} == 0 iifname vmap @pin_in
\t\tct state established ct mark and {pin} == 0 jump adopt
\t\tiifname @uplinks accept
\t\tct mark and {pin} vmap @restore
\t}}
\tchain output {{
\t\ttype route hook output priority mangle; policy accept;
\t\tct state established ct mark and {pin} == 0 jump adopt
\t\tct mark and {pin} vmap @restore
\t}}
\tchain postrouting {{
\t\ttype filter hook postrouting priority mangle; policy accept;
\t\tct mark and {pin} == 0 oifname vmap @pin_out
\t}}
\tchain nat {{
\t\ttype nat hook postrouting priority srcnat; policy accept;
\t\toifname . ip saddr @own4 accept
\t\tmeta nfproto ipv4 oifname vmap @nat4
\t}}
"
    )
}

#[cfg(test)]
mod tests;
