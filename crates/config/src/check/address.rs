//! IPv4 addresses of single hosts.

use std::net::{IpAddr, Ipv4Addr};

/// Why a word is not the address of a host, and what to write instead.
pub(super) struct Unusable {
    /// Completes "… is".
    pub(super) reason: &'static str,
    pub(super) hint: String,
}

/// The address of a host, or why it is none.
pub(super) fn host(word: &str) -> Result<Ipv4Addr, Unusable> {
    let no = |reason, hint: &str| {
        let hint = hint.to_owned();
        Err(Unusable { reason, hint })
    };
    let address = match word.parse() {
        Ok(IpAddr::V4(address)) => address,
        Ok(IpAddr::V6(_)) => {
            return no(
                "an IPv6 address",
                "this version does not know IPv6 yet: give an IPv4 address",
            );
        }
        Err(_) => return Err(not_an_address(word)),
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
    if address.is_broadcast() {
        return no("a broadcast address", "give the address of one host");
    }
    Ok(address)
}

fn not_an_address(word: &str) -> Unusable {
    let host = word.split(['/', ':']).next().unwrap_or_default();
    let hint = if host != word && host.parse::<Ipv4Addr>().is_ok() {
        format!("write only the address: \"{host}\"")
    } else {
        "give an address such as \"192.0.2.1\"".to_owned()
    };
    Unusable {
        reason: "not an IPv4 address",
        hint,
    }
}
