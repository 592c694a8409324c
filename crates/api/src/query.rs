//! The question of `explain`, which travels as the query part of an address.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::message::ApiError;

/// Which connection to explain. As a query: `to=…&from=…&if_down=isp1&if_down=isp2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainQuery {
    /// Where from; none for the router's own.
    pub from: Option<IpAddr>,
    /// Where to.
    pub to: IpAddr,
    /// The transport.
    pub protocol: Option<Protocol>,
    /// The source port.
    pub sport: Option<u16>,
    /// The destination port.
    pub dport: Option<u16>,
    /// The interface that it comes in by.
    pub iif: Option<String>,
    /// The packet mark that it carries already.
    pub mark: Option<u32>,
    /// Uplinks that are taken to be down.
    pub if_down: Vec<String>,
}

/// A transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, and ICMPv6.
    Icmp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str() == word)
            .ok_or_else(|| "expected tcp, udp or icmp".to_owned())
    }
}

/// Uplinks that may be named in `if_down`: far more than there can be.
const IF_DOWN_MAX: usize = 256;

impl ExplainQuery {
    /// A question about the router's own traffic to an address; the rest is filled in by hand.
    pub fn to(to: IpAddr) -> Self {
        Self {
            from: None,
            to,
            protocol: None,
            sport: None,
            dport: None,
            iif: None,
            mark: None,
            if_down: Vec::new(),
        }
    }

    /// As the query part of an address, without the `?`.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("to", &self.to.to_string());
        let mut maybe = |key, value: Option<String>| {
            if let Some(value) = value {
                query.append_pair(key, &value);
            }
        };
        maybe("from", self.from.map(|v| v.to_string()));
        maybe("protocol", self.protocol.map(|v| v.to_string()));
        maybe("sport", self.sport.map(|v| v.to_string()));
        maybe("dport", self.dport.map(|v| v.to_string()));
        maybe("iif", self.iif.clone());
        maybe("mark", self.mark.map(|v| format!("{v:#x}")));
        for name in &self.if_down {
            query.append_pair("if_down", name);
        }
        query.finish()
    }

    /// Reads what [`ExplainQuery::to_query`] writes.
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
                "iif" => read.iif = Some(value.into_owned()),
                "mark" => read.mark = Some(parse_mark(&value)?),
                "if_down" if read.if_down.len() < IF_DOWN_MAX => {
                    read.if_down.push(value.into_owned());
                }
                "if_down" => return Err(ApiError::new("too many uplinks in if_down")),
                _ => {
                    return Err(
                        ApiError::new(format!("unknown parameter {key:?}")).with_hint(
                            "there are to, from, protocol, sport, dport, iif, mark and if_down",
                        ),
                    );
                }
            }
        }
        read.to = to.ok_or_else(|| {
            ApiError::new("the parameter `to` is missing").with_hint("for example ?to=1.1.1.1")
        })?;
        if read
            .from
            .is_some_and(|from| from.is_ipv4() != read.to.is_ipv4())
        {
            return Err(ApiError::new("`from` and `to` are of different families"));
        }
        Ok(read)
    }
}

fn parse<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, ApiError> {
    value
        .parse()
        .map_err(|error| ApiError::new(format!("cannot read {key}={value:?}: {error}")))
}

/// Decimal, or hexadecimal with `0x`.
fn parse_mark(value: &str) -> Result<u32, ApiError> {
    match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16)
            .map_err(|error| ApiError::new(format!("cannot read mark={value:?}: {error}"))),
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
            protocol: Some(Protocol::Udp),
            sport: Some(1),
            dport: Some(65535),
            iif: Some("br-lan &=%?#ü".to_owned()),
            mark: Some(0xff00_0000),
            if_down: vec!["isp1".to_owned(), "a,b".to_owned()],
            ..ExplainQuery::to("2001:db8::2".parse().unwrap())
        };
        for query in [ExplainQuery::to("1.1.1.1".parse().unwrap()), full] {
            let text = query.to_query();
            assert!(text.is_ascii() && !text.contains([' ', '#', '?']), "{text}");
            assert_eq!(ExplainQuery::from_query(&text), Ok(query));
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
                "to=1.1.1.1&protocol=sctp",
                "cannot read protocol=\"sctp\": expected tcp, udp or icmp",
            ),
            (
                "to=1.1.1.1&mark=0xg",
                "cannot read mark=\"0xg\": invalid digit found in string",
            ),
            ("to=1.1.1.1&x=1", "unknown parameter \"x\""),
            (
                "to=1.1.1.1&from=::1",
                "`from` and `to` are of different families",
            ),
        ] {
            assert_eq!(
                ExplainQuery::from_query(query).unwrap_err().message,
                message
            );
        }
        assert_eq!(
            ExplainQuery::from_query("to=1.1.1.1&mark=16").unwrap().mark,
            Some(16)
        );
    }
}
