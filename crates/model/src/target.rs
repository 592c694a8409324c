//! Who is asked whether an uplink works, how dear that is, and what a good answer is.

use std::{fmt, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::net::Family;

/// Somebody who is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The uplink's gateway, whatever its address is at the moment, by ICMP echo.
    Gateway,
    /// The same by ARP or neighbour solicitation, which a gateway answers that drops echoes.
    Neighbour,
    /// ICMP echo to a host beyond the gateway.
    Icmp(IpAddr),
    /// Anything that takes more than one packet each way, or a name.
    Service(Arc<Service>),
}

/// A question that takes more than an echo.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Service {
    /// What is asked.
    pub ask: Ask,
    /// The one family that it concerns; none: those that its host has, or both.
    pub family: Option<Family>,
}

/// What is asked of a [`Service`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// ICMP echo to a host of this name.
    Icmp(String),
    /// Whether a TCP connection can be made.
    Tcp {
        /// To whom.
        host: Host,
        /// To which port.
        port: u16,
    },
    /// A query of the domain name system.
    Dns(Query),
    /// A page.
    Http(Page),
    /// A program of the user's.
    Command(Program),
}

/// A host beyond the gateway.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// By its address.
    Address(IpAddr),
    /// By its name, which is looked up over the uplink that is tested.
    Name(String),
}

/// A query of the domain name system, for addresses of the uplink's family.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Query {
    /// Who is asked; none: the resolvers that the provider gave for the uplink.
    pub server: Option<Host>,
    /// Its port.
    pub port: u16,
    /// Over TCP instead of UDP.
    pub over_tcp: bool,
    /// The name that must have an address; none: any answer of the server will do.
    pub name: Option<String>,
    /// Of these one must be in the answer; empty: any.
    pub answers: Vec<IpAddr>,
}

/// A page that is fetched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Page {
    /// Whether over TLS.
    pub is_secure: bool,
    /// From whom.
    pub host: Host,
    /// From which port.
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// The status must be one of these; empty: 200 to 299.
    pub statuses: Vec<u16>,
    /// Text that must be in the body.
    pub body: Option<String>,
    /// The name that the certificate must be for, where it is not the host's.
    pub certificate_name: Option<String>,
    /// The certificates that are trusted, in a file of PEM; none: the system's.
    pub authorities: Option<PathBuf>,
}

/// A program of the user's; exit code 0 is an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Program {
    /// Its path and its arguments.
    pub words: Vec<String>,
    /// How long it may run.
    pub limit: Duration,
    /// Whom it runs as; none: `nobody`, where we may choose.
    pub user: Option<String>,
}

/// One question for which an echo is not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub subject: Subject,
    /// The family of the line that is tested.
    pub family: Family,
    /// An address of that family that is the uplink's own, where it has one.
    pub source: Option<IpAddr>,
    /// How long the answer may take.
    pub limit: Duration,
}

/// What a [`Question`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Whether somebody of this address is on the link.
    Neighbour(IpAddr),
    /// Anything else.
    Service(Arc<Service>),
}

/// How often a target may be asked, and how long that may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time between two questions while all is well.
    pub rest: Duration,
    /// The same in a burst.
    pub burst: Duration,
    /// Whether a question has to be over before the next is asked.
    pub is_alone: bool,
}

impl Target {
    /// Whether it is on this side of the gateway, so that it proves nothing of what is behind.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Gateway | Self::Neighbour => true,
            Self::Icmp(_) | Self::Service(_) => false,
        }
    }

    /// Whether it is asked on lines of a family.
    pub fn concerns(&self, family: Family) -> bool {
        match self {
            Self::Gateway | Self::Neighbour => true,
            Self::Icmp(address) => Family::of(*address) == family,
            Self::Service(service) => {
                let own = service.host().and_then(Host::address).map(Family::of);
                service.family.or(own).is_none_or(|f| f == family)
            }
        }
    }

    /// How often it may be asked.
    pub fn pace(&self) -> Pace {
        let ms = Duration::from_millis;
        let (rest, burst) = match self {
            Self::Gateway | Self::Neighbour | Self::Icmp(_) => return Pace::FREE,
            Self::Service(service) => match &service.ask {
                Ask::Icmp(_) => return Pace::FREE,
                Ask::Tcp { .. } => (ms(500), ms(100)),
                Ask::Dns(query) if !query.over_tcp => (ms(500), ms(100)),
                Ask::Dns(_) => (ms(1000), ms(500)),
                Ask::Http(page) if !page.is_secure => (ms(5000), ms(500)),
                Ask::Http(_) => (ms(10_000), ms(1000)),
                Ask::Command(_) => (ms(5000), ms(1000)),
            },
        };
        let is_alone = true;
        Pace {
            rest,
            burst,
            is_alone,
        }
    }

    /// How long an answer may take where one packet and its answer may take so long: as often as
    /// packets go there and back, once more where a name may have to be looked up first.
    pub fn limit(&self, timeout: Duration) -> Duration {
        let Self::Service(service) = self else {
            return timeout;
        };
        let turns = match &service.ask {
            Ask::Icmp(_) | Ask::Tcp { .. } => 1,
            Ask::Dns(query) if !query.over_tcp => 1,
            Ask::Dns(_) => 2,
            Ask::Http(page) if !page.is_secure => 2,
            Ask::Http(_) => 4,
            // That it was ended is told before it is missed.
            Ask::Command(program) => return program.limit + Duration::from_millis(500),
        };
        let is_named = matches!(service.host(), Some(Host::Name(_)));
        timeout * (turns + u32::from(is_named || matches!(service.ask, Ask::Icmp(_))))
    }
}

impl Pace {
    /// As often as the file says.
    pub const FREE: Self = Self {
        rest: Duration::ZERO,
        burst: Duration::ZERO,
        is_alone: false,
    };
}

impl Service {
    /// The host that is asked, where it is one and does not come from the provider.
    pub fn host(&self) -> Option<&Host> {
        match &self.ask {
            Ask::Tcp { host, .. } => Some(host),
            Ask::Dns(query) => query.server.as_ref(),
            Ask::Http(page) => Some(&page.host),
            Ask::Icmp(_) | Ask::Command(_) => None,
        }
    }
}

impl Host {
    /// Its address, where that is how it is named.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }
}

impl Page {
    /// The port that a URL need not name.
    pub fn usual_port(is_secure: bool) -> u16 {
        if is_secure { 443 } else { 80 }
    }

    /// Host and port as the `Host` header and a URL have them.
    pub fn authority(&self) -> String {
        match self.port == Self::usual_port(self.is_secure) {
            true => bracketed(&self.host),
            false => format!("{}:{}", bracketed(&self.host), self.port),
        }
    }
}

impl Query {
    /// The port that a target need not name.
    pub const PORT: u16 = 53;
}

fn bracketed(host: &Host) -> String {
    match host {
        Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        Host::Address(IpAddr::V4(_)) | Host::Name(_) => host.to_string(),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// As the file writes it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Neighbour => f.write_str("neighbour"),
            Self::Icmp(address) => write!(f, "icmp:{address}"),
            Self::Service(service) => service.ask.fmt(f),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp(name) => write!(f, "icmp:{name}"),
            Self::Tcp { host, port } => write!(f, "tcp:{}:{port}", bracketed(host)),
            Self::Dns(query) => {
                f.write_str(if query.over_tcp { "dns+tcp" } else { "dns" })?;
                match &query.server {
                    Some(server) if query.port == Query::PORT => write!(f, ":{server}")?,
                    Some(server) => write!(f, ":{}:{}", bracketed(server), query.port)?,
                    None => {}
                }
                match &query.name {
                    Some(name) => write!(f, "/{name}"),
                    None => Ok(()),
                }
            }
            Self::Http(page) => {
                let scheme = if page.is_secure { "https" } else { "http" };
                write!(f, "{scheme}://{}{}", page.authority(), page.path)
            }
            Self::Command(program) => write!(f, "command {}", program.words.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(ask: Ask) -> Target {
        Target::Service(Arc::new(Service { ask, family: None }))
    }

    fn host(text: &str) -> Host {
        match text.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(text.to_owned()),
        }
    }

    fn tcp(text: &str) -> Target {
        service(Ask::Tcp {
            host: host(text),
            port: 443,
        })
    }

    #[test]
    fn a_target_is_shown_as_the_file_writes_it() {
        assert_eq!(tcp("9.9.9.9").to_string(), "tcp:9.9.9.9:443");
        assert_eq!(tcp("2620:fe::fe").to_string(), "tcp:[2620:fe::fe]:443");
        let query = |server: Option<&str>, port, name: Option<&str>| {
            service(Ask::Dns(Query {
                server: server.map(host),
                port,
                over_tcp: port != 53,
                name: name.map(str::to_owned),
                answers: Vec::new(),
            }))
            .to_string()
        };
        assert_eq!(query(None, 53, None), "dns");
        assert_eq!(query(Some("2620:fe::fe"), 53, None), "dns:2620:fe::fe");
        let told = query(Some("2620:fe::fe"), 5353, Some("a.example"));
        assert_eq!(told, "dns+tcp:[2620:fe::fe]:5353/a.example");
    }

    #[test]
    fn an_address_is_of_one_family_and_a_name_of_both() {
        let of = |t: &Target| [Family::V4, Family::V6].map(|f| t.concerns(f));
        assert_eq!(of(&tcp("9.9.9.9")), [true, false]);
        assert_eq!(of(&tcp("2620:fe::fe")), [false, true]);
        assert_eq!(of(&tcp("a.example")), [true, true]);
        let one = Target::Service(Arc::new(Service {
            ask: Ask::Icmp("a.example".to_owned()),
            family: Some(Family::V6),
        }));
        assert_eq!(of(&one), [false, true]);
        assert_eq!(of(&Target::Neighbour), [true, true]);
    }

    #[test]
    fn a_name_may_take_one_turn_more() {
        let second = Duration::from_secs(1);
        assert_eq!(tcp("9.9.9.9").limit(second), second);
        assert_eq!(tcp("a.example").limit(second), second * 2);
        assert_eq!(Target::Gateway.limit(second), second);
    }
}
