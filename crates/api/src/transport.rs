//! What packets bear, as people write it: protocols, ICMP types, Ethernet addresses, code points.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uplinkd_model::{
    Family,
    policy::{PROTOCOL_ICMP, PROTOCOL_ICMPV6},
};

/// An IP protocol. Written by its name where it has a well-known one, else by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Protocol(u8);

const NAMES: [(&str, u8); 14] = [
    ("icmp", PROTOCOL_ICMP),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", PROTOCOL_ICMPV6),
    ("ospf", 89),
    ("sctp", 132),
    ("udplite", 136),
];

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP; of an IPv6 connection ICMPv6.
    pub const ICMP: Self = Self(PROTOCOL_ICMP);

    /// The protocol of a number.
    pub fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The number that packets of a family bear: who says ICMP about IPv6 means ICMPv6.
    pub fn number(self, family: Family) -> u8 {
        match (self.0, family) {
            (PROTOCOL_ICMP, Family::V6) => PROTOCOL_ICMPV6,
            (number, Family::V4 | Family::V6) => number,
        }
    }

    /// Whether it is ICMP, of either family.
    pub fn is_icmp(self) -> bool {
        matches!(self.0, PROTOCOL_ICMP | PROTOCOL_ICMPV6)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, number)| *number)
            .or_else(|| word.parse().ok())
            .map(Self)
            .ok_or_else(|| {
                "expected a number from 0 to 255, or a name such as tcp, udp, icmp or gre"
                    .to_owned()
            })
    }
}

impl TryFrom<String> for Protocol {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}

/// The type of an ICMP message: a number, or a name that each family has its own number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IcmpType {
    /// By number.
    Number(u8),
    /// What `ping` sends.
    EchoRequest,
    /// What comes back.
    EchoReply,
}

impl IcmpType {
    /// The number that a family knows it by.
    pub fn number(self, family: Family) -> u8 {
        match (self, family) {
            (Self::Number(number), Family::V4 | Family::V6) => number,
            (Self::EchoRequest, Family::V4) => 8,
            (Self::EchoRequest, Family::V6) => 128,
            (Self::EchoReply, Family::V4) => 0,
            (Self::EchoReply, Family::V6) => 129,
        }
    }
}

impl fmt::Display for IcmpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::EchoRequest => f.write_str("echo-request"),
            Self::EchoReply => f.write_str("echo-reply"),
        }
    }
}

impl FromStr for IcmpType {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "echo-request" => Ok(Self::EchoRequest),
            "echo-reply" => Ok(Self::EchoReply),
            _ => word.parse().map(Self::Number).map_err(|_| {
                "expected a number from 0 to 255, echo-request or echo-reply".to_owned()
            }),
        }
    }
}

impl TryFrom<String> for IcmpType {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl From<IcmpType> for String {
    fn from(icmp_type: IcmpType) -> Self {
        icmp_type.to_string()
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// As the number of 48 bits that policies are made of.
    pub fn number(self) -> u64 {
        self.0
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = || "expected six bytes such as aa:bb:cc:dd:ee:ff".to_owned();
        let mut bytes = [0; 6];
        let mut parts = word.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// Reads a differentiated services code point: a number up to 63, `ef`, `cs0` to `cs7`, `af11` to
/// `af43`.
///
/// # Errors
/// Says what there is.
pub fn parse_dscp(word: &str) -> Result<u8, String> {
    let digits = |text: &str| -> Option<Vec<u8>> {
        let digit = |c: char| c.to_digit(10).and_then(|d| u8::try_from(d).ok());
        text.chars().map(digit).collect()
    };
    let by_name = || match word.split_at_checked(2)? {
        ("ef", "") => Some(46),
        ("cs", class) => match digits(class)?[..] {
            [class @ 0..=7] => Some(class * 8),
            _ => None,
        },
        ("af", class) => match digits(class)?[..] {
            [class @ 1..=4, drop @ 1..=3] => Some(class * 8 + drop * 2),
            _ => None,
        },
        _ => None,
    };
    let by_number = || word.parse().ok().filter(|number| *number <= 63);
    by_number()
        .or_else(by_name)
        .ok_or_else(|| "expected a number up to 63, ef, cs0 to cs7, or af11 to af43".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_points_have_names() {
        for (word, number) in [
            ("ef", 46),
            ("cs0", 0),
            ("cs7", 56),
            ("af11", 10),
            ("af43", 38),
        ] {
            assert_eq!(parse_dscp(word), Ok(number), "{word}");
        }
        assert_eq!(parse_dscp("63"), Ok(63));
        for bad in [
            "64", "", "e", "ef1", "cs8", "af14", "af51", "af1", "cs", "ää",
        ] {
            assert!(parse_dscp(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn protocols_are_known_by_name_and_number() {
        for (word, shown, v4, v6) in [
            ("tcp", "tcp", 6, 6),
            ("6", "tcp", 6, 6),
            ("icmp", "icmp", 1, 58),
            ("icmpv6", "icmpv6", 58, 58),
            ("200", "200", 200, 200),
        ] {
            let protocol: Protocol = word.parse().unwrap();
            assert_eq!(protocol.to_string(), shown);
            assert_eq!(protocol.number(Family::V4), v4);
            assert_eq!(protocol.number(Family::V6), v6);
        }
        assert!("256".parse::<Protocol>().is_err());
        assert!("http".parse::<Protocol>().is_err());
    }

    #[test]
    fn a_named_icmp_type_has_a_number_for_each_family() {
        let echo: IcmpType = "echo-request".parse().unwrap();
        assert_eq!((echo.number(Family::V4), echo.number(Family::V6)), (8, 128));
        let three: IcmpType = "3".parse().unwrap();
        assert_eq!(three.number(Family::V6), 3);
        assert!("ping".parse::<IcmpType>().is_err());
    }

    #[test]
    fn an_ethernet_address_is_six_bytes() {
        let mac: MacAddress = "00:01:02:fd:fe:ff".parse().unwrap();
        assert_eq!(mac.number(), 0x0001_02fd_feff);
        assert_eq!(mac.to_string(), "00:01:02:fd:fe:ff");
        for bad in ["", "1:2:3:4:5:6", "00:01:02:fd:fe", "00:01:02:fd:fe:ff:00"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad:?}");
        }
    }
}
