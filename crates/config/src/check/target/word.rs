//! A target as text: `gateway`, `icmp:HOST`, `tcp:HOST:PORT`, `dns:SERVER/NAME`, `https://…`.

use std::net::IpAddr;

use toml::Spanned;
use uplinkd_model::{
    Host,
    target::{Ask, Page, Query},
};

use crate::{
    check::address::{self, Scope},
    diagnostic::Diagnostic,
    quote::{meant, quoted},
    reader::Found,
};

/// Longer paths are none that one would fetch each few seconds.
const PATH_MAX: usize = 2000;

/// Who is asked, without what a table may add.
pub(super) enum Asked {
    Gateway,
    Neighbour,
    Icmp(Host),
    Service(Ask),
}

/// Why a text is no target.
pub(super) struct Wrong {
    /// Completes "target X of Y …".
    message: String,
    label: String,
    hint: String,
}

fn wrong<T>(message: &str, label: &str, hint: &str) -> Result<T, Wrong> {
    Err(Wrong {
        message: message.to_owned(),
        label: label.to_owned(),
        hint: hint.to_owned(),
    })
}

/// Reads a text, and reports what is wrong with it.
pub(super) fn check(text: &Spanned<String>, whose: &str, found: &mut Found) -> Option<Asked> {
    let word = text.get_ref();
    let read = read(word).unwrap_or_else(|| {
        let hint = match meant(word, ["gateway", "neighbour", "neighbor"]) {
            Some("neighbor") => "did you mean \"neighbour\"?".to_owned(),
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => KINDS.to_owned(),
        };
        wrong("is of no known kind", "not a target", &hint)
    });
    match read {
        Ok(asked) => Some(asked),
        Err(wrong) => {
            let message = format!("target {} of {whose} {}", quoted(word), wrong.message);
            found.push(
                Diagnostic::error(text.span(), message)
                    .label(wrong.label)
                    .hint(wrong.hint),
            );
            None
        }
    }
}

const KINDS: &str = "write \"gateway\", \"icmp:1.1.1.1\", \"tcp:1.1.1.1:443\", \
                     \"dns:9.9.9.9/example.org\", \"https://example.org/\" or an address";

/// Reads a text; none where it is of no kind that is known.
pub(super) fn read(word: &str) -> Option<Result<Asked, Wrong>> {
    match word {
        "gateway" => return Some(Ok(Asked::Gateway)),
        "neighbour" => return Some(Ok(Asked::Neighbour)),
        _ if meant(word, ["gateway", "neighbour", "neighbor"]).is_some() => return None,
        _ => {}
    }
    for (kind, over_tcp) in [("dns+tcp", true), ("dns", false)] {
        if let Some(rest) = word.strip_prefix(kind)
            && (rest.is_empty() || rest.starts_with([':', '/']))
        {
            return Some(dns(rest, over_tcp).map(Asked::Service));
        }
    }
    let (kind, rest) = match word.split_once(':') {
        Some((kind, rest)) if word.parse::<IpAddr>().is_err() => (kind, rest),
        _ => ("icmp", word),
    };
    Some(match kind {
        "icmp" => host(rest).map(Asked::Icmp),
        "tcp" => tcp(rest).map(Asked::Service),
        "http" | "https" => page(rest, kind == "https").map(Asked::Service),
        "arp" | "nd" => wrong(
            "is of no known kind",
            "not a target",
            "write \"neighbour\": it asks the gateway by ARP or by neighbour discovery",
        ),
        _ => return None,
    })
}

fn tcp(rest: &str) -> Result<Ask, Wrong> {
    let (host, port) = with_port(rest)?;
    match port {
        Some(port) => Ok(Ask::Tcp { host, port }),
        None => wrong(
            "has no port",
            "no port",
            &format!("write \"tcp:{rest}:443\", or another port"),
        ),
    }
}

/// What stands behind `dns`: `:SERVER:PORT/NAME`, or parts of it.
fn dns(rest: &str, over_tcp: bool) -> Result<Ask, Wrong> {
    let (server, name) = match rest.split_once('/') {
        Some((server, name)) => (server, Some(name)),
        None => (rest, None),
    };
    let (server, port) = match server.strip_prefix(':') {
        None => (None, None),
        // An IPv6 address without a port needs no brackets here.
        Some(server) if server.parse::<IpAddr>().is_ok() => (Some(host(server)?), None),
        Some(server) => {
            let (host, port) = with_port(server)?;
            (Some(host), port)
        }
    };
    let name = match name.map(name_of) {
        None => None,
        Some(Some(name)) => Some(name),
        Some(None) => {
            return wrong(
                "asks for no name",
                "not a name",
                "write \"dns:9.9.9.9/example.org\"",
            );
        }
    };
    Ok(Ask::Dns(Query {
        server,
        port: port.unwrap_or(Query::PORT),
        over_tcp,
        name,
        answers: Vec::new(),
    }))
}

/// What stands behind `https:`.
fn page(rest: &str, is_secure: bool) -> Result<Ask, Wrong> {
    const HINT: &str = "write \"https://example.org/health\"";
    let Some(rest) = rest.strip_prefix("//") else {
        return wrong("is no URL", "not a URL", HINT);
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if authority.contains('@') {
        return wrong("has a user's name in it", "not used", "leave it out");
    }
    let is_plain = |c: char| c.is_ascii_graphic();
    if path.contains('#') || !path.chars().all(is_plain) || path.len() > PATH_MAX {
        return wrong(
            "has a path that no server is asked for",
            "not a path",
            "write other signs than letters of ASCII as `%` and two digits, and leave out what stands behind `#`",
        );
    }
    let (host, port) = with_port(authority)?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Ask::Http(Page {
        is_secure,
        host,
        port: port.unwrap_or(Page::usual_port(is_secure)),
        path: format!("{slash}{path}"),
        statuses: Vec::new(),
        body: None,
        certificate_name: None,
        authorities: None,
    }))
}

/// A host and perhaps a port: `a.example:443`, `192.0.2.1`, `[2001:db8::1]:443`.
fn with_port(word: &str) -> Result<(Host, Option<u16>), Wrong> {
    let (inside, port) = match word.strip_prefix('[').and_then(|w| w.split_once(']')) {
        Some((inside, "")) => (inside, None),
        Some((inside, port)) => (inside, Some(port.strip_prefix(':').unwrap_or("none"))),
        None => match word.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return wrong(
                    "has an IPv6 address without brackets",
                    "where does it end?",
                    "write the address in brackets: \"tcp:[2001:db8::1]:443\"",
                );
            }
            Some((host, port)) => (host, Some(port)),
            None => (word, None),
        },
    };
    let host = host(inside)?;
    let number = match port {
        None => None,
        Some(port) => match port.parse().ok().filter(|n| *n != 0) {
            Some(number) if port.bytes().all(|b| b.is_ascii_digit()) => Some(number),
            _ => {
                return wrong(
                    "has no port that there is",
                    "not a port",
                    "ports are 1 to 65535",
                );
            }
        },
    };
    Ok((host, number))
}

/// A host by its address or its name.
fn host(word: &str) -> Result<Host, Wrong> {
    match address::host(word, Scope::Beyond) {
        Ok(address) => Ok(Host::Address(address)),
        Err(unusable) => match name_of(word) {
            Some(name) if word.parse::<IpAddr>().is_err() => Ok(Host::Name(name)),
            _ if unusable.hint.starts_with("give an address such") => wrong(
                "cannot be asked: it is neither an address nor a whole name",
                "no host",
                "give an address such as \"192.0.2.1\", or a name such as \"example.org\"",
            ),
            _ => wrong(
                &format!("cannot be asked: it is {}", unusable.reason),
                unusable.reason,
                &unusable.hint,
            ),
        },
    }
}

/// A whole name as resolvers ask for it, in small letters. One without a dot would be completed by
/// others, each with something else; one that ends with a number is a slip in an address.
pub(super) fn name_of(word: &str) -> Option<String> {
    let name = word.strip_suffix('.').unwrap_or(word).to_ascii_lowercase();
    let is_label = |label: &str| {
        let signs = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(signs)
    };
    let last = name.rsplit('.').next()?;
    let is_number = last.bytes().all(|b| b.is_ascii_digit());
    let is_name = name.contains('.') && name.len() <= 253 && name.split('.').all(is_label);
    (is_name && !is_number).then_some(name)
}
