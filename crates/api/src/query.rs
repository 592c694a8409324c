//! The questions of `explain`, which travel as the query part of an address.

use std::{borrow::Cow, collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use uplinkd_model::Family;
use utoipa::{IntoParams, ToSchema};

use crate::{
    message::ApiError,
    schema,
    transport::{IcmpType, MacAddress, Protocol, parse_dscp},
};

/// Which new connection to explain: everything that a policy can look at. As a query:
/// `to=…&from=…&if_down=isp1&if_down=isp2`. What is left out is not known, not "none".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// Where from; none for the router's own.
    #[schema(value_type = Option<schema::Address>)]
    #[param(value_type = Option<schema::Address>)]
    pub from: Option<IpAddr>,
    /// Where to.
    #[schema(value_type = schema::Address)]
    #[param(value_type = schema::Address)]
    pub to: IpAddr,
    /// The transport.
    pub protocol: Option<Protocol>,
    /// The source port.
    #[schema(maximum = 65535)]
    #[param(maximum = 65535)]
    pub sport: Option<u16>,
    /// The destination port.
    #[schema(maximum = 65535)]
    #[param(maximum = 65535)]
    pub dport: Option<u16>,
    /// The ICMP type.
    #[serde(default)]
    pub icmp: Option<IcmpType>,
    /// The interface that it comes in by.
    pub iif: Option<String>,
    /// The Ethernet source address, as `aa:bb:cc:dd:ee:ff`.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// The differentiated services code point.
    #[serde(default)]
    #[schema(maximum = 63)]
    #[param(inline, value_type = Option<schema::Dscp>)]
    pub dscp: Option<u8>,
    /// The packet mark that it carries already.
    #[schema(maximum = 4_294_967_295_u32)]
    #[param(inline, value_type = Option<schema::Mark>)]
    pub mark: Option<u32>,
    /// The user of the router's own traffic, by number.
    #[serde(default)]
    #[schema(maximum = 4_294_967_295_u32)]
    #[param(maximum = 4_294_967_295_u32)]
    pub uid: Option<u32>,
    /// Its group, by number.
    #[serde(default)]
    #[schema(maximum = 4_294_967_295_u32)]
    #[param(maximum = 4_294_967_295_u32)]
    pub gid: Option<u32>,
    /// Its control group, by path below the root.
    #[serde(default)]
    pub cgroup: Option<String>,
    /// Names whose addresses are taken to be found: the destination is one of this name's. Empty:
    /// the kernel's sets are asked.
    #[serde(default)]
    #[param(rename = "domain", value_type = Vec<String>, required = false, max_items = 256)]
    pub domains: BTreeSet<String>,
    /// Uplinks that are taken to be down.
    #[param(required = false, max_items = 256)]
    pub if_down: Vec<String>,
}

/// Which existing connection to explain: what of it is known, in the direction in which it began or
/// as its answers come. More than one connection must not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ConnectionQuery {
    /// The transport.
    pub protocol: Option<Protocol>,
    /// From.
    #[schema(value_type = schema::Address)]
    #[param(value_type = schema::Address)]
    pub from: IpAddr,
    /// To.
    #[schema(value_type = schema::Address)]
    #[param(value_type = schema::Address)]
    pub to: IpAddr,
    /// The source port.
    #[schema(maximum = 65535)]
    #[param(maximum = 65535)]
    pub sport: Option<u16>,
    /// The destination port.
    #[schema(maximum = 65535)]
    #[param(maximum = 65535)]
    pub dport: Option<u16>,
    /// Uplinks that are taken to be down.
    #[param(required = false, max_items = 256)]
    pub if_down: Vec<String>,
}

/// Uplinks that may be named in `if_down`, or names in `domain`: far more than there can be.
const NAMES_MAX: usize = 256;

impl ExplainQuery {
    /// A question about the router's own traffic to an address; the rest is filled in by hand.
    pub fn to(to: IpAddr) -> Self {
        Self {
            from: None,
            to,
            protocol: None,
            sport: None,
            dport: None,
            icmp: None,
            iif: None,
            mac: None,
            dscp: None,
            mark: None,
            uid: None,
            gid: None,
            cgroup: None,
            domains: BTreeSet::new(),
            if_down: Vec::new(),
        }
    }

    /// The family of the connection.
    pub fn family(&self) -> Family {
        Family::of(self.to)
    }

    /// As the query part of an address, without the `?`.
    pub fn to_query(&self) -> String {
        let mut query = Writer::default();
        query.one("to", self.to);
        query.maybe("from", self.from);
        query.maybe("protocol", self.protocol);
        query.maybe("sport", self.sport);
        query.maybe("dport", self.dport);
        query.maybe("icmp", self.icmp);
        query.maybe("iif", self.iif.as_ref());
        query.maybe("mac", self.mac);
        query.maybe("dscp", self.dscp);
        query.maybe("mark", self.mark.map(|mark| format!("{mark:#x}")));
        query.maybe("uid", self.uid);
        query.maybe("gid", self.gid);
        query.maybe("cgroup", self.cgroup.as_ref());
        query.all("domain", &self.domains);
        query.all("if_down", &self.if_down);
        query.finish()
    }

    /// Reads what [`ExplainQuery::to_query`] writes. Whether there can be such a packet is another
    /// question: [`ExplainQuery::check`].
    ///
    /// # Errors
    /// Names the parameter that is unknown, missing or cannot be read.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let mut to = None;
        let mut read = Self::to(IpAddr::from([0, 0, 0, 0]));
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "to" => to = Some(parse(&key, &value)?),
                "from" => read.from = Some(parse(&key, &value)?),
                "protocol" => read.protocol = Some(parse(&key, &value)?),
                "sport" => read.sport = Some(parse(&key, &value)?),
                "dport" => read.dport = Some(parse(&key, &value)?),
                "icmp" => read.icmp = Some(parse(&key, &value)?),
                "iif" => read.iif = Some(value.into_owned()),
                "mac" => read.mac = Some(parse(&key, &value)?),
                "dscp" => {
                    read.dscp =
                        Some(parse_dscp(&value).map_err(|error| cannot_read(&key, &value, error))?)
                }
                "mark" => read.mark = Some(parse_mark(&value)?),
                "uid" => read.uid = Some(parse(&key, &value)?),
                "gid" => read.gid = Some(parse(&key, &value)?),
                "cgroup" => read.cgroup = Some(value.trim_matches('/').to_owned()),
                "domain" => {
                    read.domains.insert(value.to_ascii_lowercase());
                    bounded("domain", read.domains.len())?;
                }
                "if_down" => push(&mut read.if_down, value)?,
                _ => {
                    return Err(unknown(
                        &key,
                        "to, from, protocol, sport, dport, icmp, iif, mac, dscp, mark, uid, gid, \
                         cgroup, domain and if_down",
                    ));
                }
            }
        }
        read.to = to.ok_or_else(|| missing("to", "?to=1.1.1.1"))?;
        Ok(read)
    }

    /// Whether there can be such a packet.
    ///
    /// # Errors
    /// Names what does not go together.
    pub fn check(&self) -> Result<(), ApiError> {
        if self.from.is_some_and(|f| f.is_ipv4() != self.to.is_ipv4()) {
            return Err(ApiError::new("`from` and `to` are of different families"));
        }
        let is_icmp = self.protocol.is_some_and(Protocol::is_icmp);
        if self.icmp.is_some() && self.protocol.is_some() && !is_icmp {
            return Err(ApiError::new(
                "`icmp` is a type of ICMP, not of another protocol",
            ));
        }
        if (self.sport.is_some() || self.dport.is_some()) && (is_icmp || self.icmp.is_some()) {
            return Err(ApiError::new("ICMP has no ports"));
        }
        let is_own = self.uid.is_some() || self.gid.is_some() || self.cgroup.is_some();
        if is_own && (self.iif.as_ref().is_some_and(|i| i != "lo") || self.mac.is_some()) {
            return Err(ApiError::new(
                "users and control groups are known of the router's own traffic only, which does \
                 not come in by an interface",
            ));
        }
        Ok(())
    }
}

impl ConnectionQuery {
    /// As the query part of an address, without the `?`.
    pub fn to_query(&self) -> String {
        let mut query = Writer::default();
        query.one("from", self.from);
        query.one("to", self.to);
        query.maybe("protocol", self.protocol);
        query.maybe("sport", self.sport);
        query.maybe("dport", self.dport);
        query.all("if_down", &self.if_down);
        query.finish()
    }

    /// Reads what [`ConnectionQuery::to_query`] writes.
    ///
    /// # Errors
    /// Names the parameter that is unknown, missing or cannot be read.
    pub fn from_query(query: &str) -> Result<Self, ApiError> {
        let (mut from, mut to) = (None, None);
        let (mut protocol, mut sport, mut dport) = (None, None, None);
        let mut if_down = Vec::new();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "from" => from = Some(parse(&key, &value)?),
                "to" => to = Some(parse(&key, &value)?),
                "protocol" => protocol = Some(parse(&key, &value)?),
                "sport" => sport = Some(parse(&key, &value)?),
                "dport" => dport = Some(parse(&key, &value)?),
                "if_down" => push(&mut if_down, value)?,
                _ => {
                    return Err(unknown(
                        &key,
                        "from, to, protocol, sport, dport and if_down",
                    ));
                }
            }
        }
        Ok(Self {
            protocol,
            from: from.ok_or_else(|| missing("from", "?from=192.168.1.20&to=1.1.1.1"))?,
            to: to.ok_or_else(|| missing("to", "?from=192.168.1.20&to=1.1.1.1"))?,
            sport,
            dport,
            if_down,
        })
    }
}

impl FromStr for ConnectionQuery {
    type Err = String;

    /// Reads `tcp 10.0.0.1:1234 1.2.3.4:443`, `udp [2001:db8::1]:5060 [2001:db8::2]:5060` or
    /// `icmp 10.0.0.1 1.2.3.4`; protocol and ports may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words: Vec<&str> = text.split_whitespace().filter(|w| *w != "->").collect();
        let protocol = match words.len() {
            3 => Some(words.remove(0).parse()?),
            2 => None,
            _ => return Err("expected `tcp 10.0.0.1:1234 1.2.3.4:443`".to_owned()),
        };
        let (from, sport) = end(words[0])?;
        let (to, dport) = end(words[1])?;
        Ok(Self {
            protocol,
            from,
            to,
            sport,
            dport,
            if_down: Vec::new(),
        })
    }
}

/// An address with or without a port; an IPv6 one with a port stands in brackets.
fn end(word: &str) -> Result<(IpAddr, Option<u16>), String> {
    if let Ok(socket) = word.parse::<std::net::SocketAddr>() {
        return Ok((socket.ip(), Some(socket.port())));
    }
    word.trim_matches(['[', ']'])
        .parse()
        .map(|address| (address, None))
        .map_err(|_| format!("{word:?} is no address, and no address with a port"))
}

/// Writes a query part.
pub(crate) struct Writer(form_urlencoded::Serializer<'static, String>);

impl Default for Writer {
    fn default() -> Self {
        Self(form_urlencoded::Serializer::new(String::new()))
    }
}

impl Writer {
    fn one(&mut self, key: &str, value: impl fmt::Display) {
        self.0.append_pair(key, &value.to_string());
    }

    pub(crate) fn maybe(&mut self, key: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.one(key, value);
        }
    }

    fn all<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a String>) {
        for value in values {
            self.one(key, value);
        }
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.finish()
    }
}

fn push(names: &mut Vec<String>, value: Cow<'_, str>) -> Result<(), ApiError> {
    names.push(value.into_owned());
    bounded("if_down", names.len())
}

fn bounded(key: &str, count: usize) -> Result<(), ApiError> {
    if count > NAMES_MAX {
        return Err(ApiError::new(format!("too many names in {key}")));
    }
    Ok(())
}

pub(crate) fn unknown(key: &str, known: &str) -> ApiError {
    ApiError::new(format!("unknown parameter {key:?}")).with_hint(format!("there are {known}"))
}

fn missing(key: &str, example: &str) -> ApiError {
    ApiError::new(format!("the parameter `{key}` is missing"))
        .with_hint(format!("for example {example}"))
}

pub(crate) fn parse<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, ApiError> {
    value
        .parse()
        .map_err(|error| cannot_read(key, value, error))
}

fn cannot_read(key: &str, value: &str, error: impl fmt::Display) -> ApiError {
    ApiError::new(format!("cannot read {key}={value:?}: {error}"))
}

/// Decimal, or hexadecimal with `0x`.
fn parse_mark(value: &str) -> Result<u32, ApiError> {
    match value.strip_prefix("0x") {
        Some(digits) => {
            u32::from_str_radix(digits, 16).map_err(|error| cannot_read("mark", value, error))
        }
        None => parse("mark", value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_survives_the_journey() {
        let full = ExplainQuery {
            from: Some("2001:db8::1".parse().unwrap()),
            protocol: Some(Protocol::UDP),
            sport: Some(1),
            dport: Some(65535),
            iif: Some("br-lan &=%?#ü".to_owned()),
            mac: Some(MacAddress([0, 1, 2, 0xfd, 0xfe, 0xff])),
            dscp: Some(46),
            mark: Some(0xff00_0000),
            domains: ["a.example".to_owned(), "b.example".to_owned()].into(),
            if_down: vec!["isp1".to_owned(), "a,b".to_owned()],
            ..ExplainQuery::to("2001:db8::2".parse().unwrap())
        };
        let own = ExplainQuery {
            icmp: Some(IcmpType::EchoRequest),
            uid: Some(0),
            gid: Some(u32::MAX),
            cgroup: Some("system.slice/a b.service".to_owned()),
            ..ExplainQuery::to("192.0.2.1".parse().unwrap())
        };
        for query in [ExplainQuery::to("1.1.1.1".parse().unwrap()), full, own] {
            let text = query.to_query();
            assert!(text.is_ascii() && !text.contains([' ', '#', '?']), "{text}");
            assert_eq!(ExplainQuery::from_query(&text), Ok(query));
        }
    }

    #[test]
    fn a_connection_is_named_as_people_write_it() {
        let query: ConnectionQuery = "tcp 10.0.0.1:1234 1.2.3.4:443".parse().unwrap();
        assert_eq!(query.protocol, Some(Protocol::TCP));
        assert_eq!((query.sport, query.dport), (Some(1234), Some(443)));
        assert_eq!(ConnectionQuery::from_query(&query.to_query()), Ok(query));
        let v6: ConnectionQuery = "udp [2001:db8::1]:5060 -> 2001:db8::2".parse().unwrap();
        assert_eq!((v6.sport, v6.dport), (Some(5060), None));
        for bad in ["", "tcp 1.1.1.1", "tcp a b", "x 1.1.1.1 2.2.2.2", "1 2 3 4"] {
            assert!(bad.parse::<ConnectionQuery>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn refusals_name_the_parameter() {
        for (query, message) in [
            ("", "the parameter `to` is missing"),
            ("to=x", "cannot read to=\"x\": invalid IP address syntax"),
            (
                "to=1.1.1.1&dport=65536",
                "cannot read dport=\"65536\": number too large to fit in target type",
            ),
            (
                "to=1.1.1.1&protocol=http",
                "cannot read protocol=\"http\": expected a number from 0 to 255, or a name such \
                 as tcp, udp, icmp or gre",
            ),
            (
                "to=1.1.1.1&mark=0xg",
                "cannot read mark=\"0xg\": invalid digit found in string",
            ),
            (
                "to=1.1.1.1&dscp=64",
                "cannot read dscp=\"64\": expected a number up to 63, ef, cs0 to cs7, or af11 to af43",
            ),
            ("to=1.1.1.1&x=1", "unknown parameter \"x\""),
            (
                "to=1.1.1.1&from=::1",
                "`from` and `to` are of different families",
            ),
            ("to=1.1.1.1&protocol=icmp&dport=1", "ICMP has no ports"),
            (
                "to=1.1.1.1&protocol=tcp&icmp=8",
                "`icmp` is a type of ICMP, not of another protocol",
            ),
        ] {
            let checked = ExplainQuery::from_query(query).and_then(|q| q.check());
            assert_eq!(checked.unwrap_err().message, message);
        }
        assert_eq!(
            ExplainQuery::from_query("to=1.1.1.1&mark=16").unwrap().mark,
            Some(16)
        );
        assert_eq!(
            ConnectionQuery::from_query("to=1.1.1.1")
                .unwrap_err()
                .message,
            "the parameter `from` is missing"
        );
    }
}
