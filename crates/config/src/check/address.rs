//! Addresses of single hosts.

use std::net::IpAddr;

use uplinkd_model::Family;

/// Why a word is not the address of a host, and what to write instead.
pub(super) struct Unusable {
    /// Completes "… is".
    pub(super) reason: &'static str,
    pub(super) hint: String,
}

/// Whether addresses that count on one link only will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// They will: a gateway's.
    Link,
    /// They will not.
    Beyond,
}

/// The address of a host, or why it is none.
pub(super) fn host(word: &str, scope: Scope) -> Result<IpAddr, Unusable> {
    let no = |reason, hint: &str| {
        let hint = hint.to_owned();
        Err(Unusable { reason, hint })
    };
    let Ok(address) = word.parse::<IpAddr>() else {
        return Err(not_an_address(word));
    };
    if address.is_unspecified() {
        return no("no host's address", "give the address of one host");
    }
    if address.is_loopback() {
        return no(
            "this machine itself",
            "give the address of a host beyond the uplink's interface",
        );
    }
    if address.is_multicast() {
        return no("a multicast address", "give the address of one host");
    }
    match address {
        IpAddr::V4(v4) if v4.is_broadcast() => {
            no("a broadcast address", "give the address of one host")
        }
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => no(
            "an IPv4 address in the clothes of IPv6",
            "write the IPv4 address itself",
        ),
        IpAddr::V6(v6) if v6.is_unicast_link_local() && scope == Scope::Beyond => no(
            "a link-local address",
            "give an address that counts beyond the link",
        ),
        IpAddr::V4(_) | IpAddr::V6(_) => Ok(address),
    }
}

/// The address of a host of one family, or why it is none. `other` is where one of the other family
/// belongs, if anywhere.
pub(super) fn host_of(
    family: Family,
    word: &str,
    scope: Scope,
    other: &str,
) -> Result<IpAddr, Unusable> {
    let address = host(word, scope).map_err(|unusable| match family {
        Family::V6 if unusable.reason == NOT_AN_ADDRESS => not_an_address_v6(word),
        Family::V4 if unusable.reason == NOT_AN_ADDRESS => Unusable {
            reason: "not an IPv4 address",
            ..unusable
        },
        Family::V4 | Family::V6 => unusable,
    })?;
    if Family::of(address) == family {
        return Ok(address);
    }
    Err(Unusable {
        reason: match family {
            Family::V4 => "an IPv6 address",
            Family::V6 => "an IPv4 address",
        },
        hint: format!("it belongs {other}; give an {family} address here"),
    })
}

const NOT_AN_ADDRESS: &str = "not an address";

fn not_an_address(word: &str) -> Unusable {
    let hint = match written_with_more(word) {
        Some(host) => format!("write only the address: \"{host}\""),
        None => "give an address such as \"192.0.2.1\"".to_owned(),
    };
    Unusable {
        reason: NOT_AN_ADDRESS,
        hint,
    }
}

fn not_an_address_v6(word: &str) -> Unusable {
    let hint = match written_with_more(word) {
        Some(host) => format!("write only the address: \"{host}\""),
        None => "give an address such as \"2001:db8::1\"".to_owned(),
    };
    Unusable {
        reason: "not an IPv6 address",
        hint,
    }
}

/// The address in a word that has a prefix's length, a zone or a port behind it.
fn written_with_more(word: &str) -> Option<IpAddr> {
    let host = word.split(['/', '%']).next().unwrap_or_default();
    let host = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((inside, _)) => inside,
        None => host,
    };
    let host = match host.parse() {
        Ok(address) => Some(address),
        Err(_) => host.split(':').next().and_then(|h| h.parse().ok()),
    };
    host.filter(|h: &IpAddr| h.to_string() != word)
}
