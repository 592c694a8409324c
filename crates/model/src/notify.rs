//! Who is told of what, and how: the file's `[notify]`.

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{health::Health, notice::Notice, target::Host};

/// What notices are about, as people choose them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// An uplink went down or works again; none is up.
    Uplink,
    /// An uplink is worse than it should be, or good again, without being down.
    Degraded,
    /// A group is served by others.
    Group,
    /// A part of a budget is used.
    Budget,
    /// What somebody has to look at: the kernel refuses, a file is refused or was given up.
    Trouble,
    /// What is in force: files that were read, confirmed, given up or refused.
    Configuration,
    /// What people order for a while.
    Order,
    /// Gateways and delegated prefixes.
    Network,
    /// What was changed in the kernel, by us or by others.
    Kernel,
    /// The daemon's start and stop.
    Daemon,
}

impl Topic {
    /// All of them, as the file writes them.
    pub const WORDS: [(&'static str, Self); 10] = [
        ("uplink", Self::Uplink),
        ("degraded", Self::Degraded),
        ("group", Self::Group),
        ("budget", Self::Budget),
        ("trouble", Self::Trouble),
        ("configuration", Self::Configuration),
        ("order", Self::Order),
        ("network", Self::Network),
        ("kernel", Self::Kernel),
        ("daemon", Self::Daemon),
    ];

    /// What a notice is about. Nothing: what no one waits for, such as the first verdict after a start.
    pub fn of(notice: &Notice) -> &'static [Self] {
        match notice {
            Notice::Health { from, to, .. } => match (from, to) {
                (_, Health::Down) | (Health::Down, Health::Up | Health::Degraded) => {
                    &[Self::Uplink]
                }
                (_, Health::Degraded) | (Health::Degraded, Health::Up) => &[Self::Degraded],
                (Health::Unknown | Health::Up, Health::Up) | (_, Health::Unknown) => &[],
            },
            Notice::LastResort { .. } => &[Self::Uplink],
            Notice::Selection { .. } => &[Self::Group],
            Notice::Budget { .. } => &[Self::Budget],
            Notice::Refused { .. } | Notice::Diverged { .. } => &[Self::Trouble, Self::Kernel],
            Notice::ReloadRefused { .. } | Notice::RolledBack { .. } => {
                &[Self::Trouble, Self::Configuration]
            }
            Notice::Reloaded { .. } | Notice::Confirmed { .. } => &[Self::Configuration],
            Notice::Drained { .. }
            | Notice::Undrained { .. }
            | Notice::Preferred { .. }
            | Notice::Unpreferred { .. }
            | Notice::FailbackTold { .. }
            | Notice::BudgetSet { .. } => &[Self::Order],
            Notice::GatewayChanged { .. }
            | Notice::PrefixChanged { .. }
            | Notice::PrefixUnclaimed { .. }
            | Notice::PrefixDeprecated { .. }
            | Notice::PrefixRestored { .. } => &[Self::Network],
            Notice::Applied { .. } | Notice::Released { .. } | Notice::Drift { .. } => {
                &[Self::Kernel]
            }
            Notice::Started | Notice::Stopping => &[Self::Daemon],
            Notice::Sign { .. } | Notice::Weights { .. } => &[],
        }
    }
}

/// Which notices somebody wants to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Whatever is in the event log.
    All,
    /// What is about one of these.
    Topics(BTreeSet<Topic>),
}

impl Wanted {
    /// What people want to be woken for.
    pub fn usual() -> Self {
        Self::Topics([Topic::Uplink, Topic::Budget, Topic::Trouble].into())
    }

    /// Whether a notice is among them.
    pub fn has(&self, notice: &Notice) -> bool {
        match self {
            Self::All => !notice.is_detail(),
            Self::Topics(topics) => Topic::of(notice).iter().any(|t| topics.contains(t)),
        }
    }
}

/// All who are told, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// What happens within this time of a first notice is told together with it.
    pub together: Duration,
    /// So many messages leave in an hour at most, by each channel but hooks.
    pub per_hour: u32,
    /// The ways out, each with a name of its own.
    pub channels: Vec<Channel>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            together: Duration::from_secs(5),
            per_hour: 30,
            channels: Vec::new(),
        }
    }
}

/// A way by which somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name: `hooks`, `mail`, or that of its `[notify.webhook.NAME]`.
    pub name: String,
    /// Of what.
    pub wanted: Wanted,
    /// How.
    pub means: Means,
}

impl Channel {
    /// The name of the folder of hooks.
    pub const HOOKS: &'static str = "hooks";
    /// The name of e-mail.
    pub const MAIL: &'static str = "mail";
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// Programs that are run.
    Hooks(Hooks),
    /// A server that is told by HTTP.
    Webhook(Webhook),
    /// E-mail.
    Mail(Mail),
}

/// A folder of programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Where they are.
    pub dir: PathBuf,
    /// Whom they run as; none: `nobody`, where we may choose.
    pub user: Option<String>,
    /// How long each may run.
    pub limit: Duration,
}

/// A server that is told by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where it is.
    pub address: Address,
    /// What it is told in.
    pub template: Template,
    /// To whom the server is to pass it on, where the template asks for that.
    pub to: Option<String>,
    /// The file of what proves who we are.
    pub token_file: Option<PathBuf>,
    /// The certificates that are trusted, in a file of PEM; none: the system's.
    pub authorities: Option<PathBuf>,
}

impl Webhook {
    /// The file that the URL stands in, where it is a secret.
    pub fn secret_url(&self) -> Option<&Path> {
        match &self.address {
            Address::Url(_) => None,
            Address::File(path) => Some(path),
        }
    }
}

/// A URL, or the file that it stands in, for URLs that are a secret as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The URL.
    Url(Url),
    /// The file.
    File(PathBuf),
}

/// The words of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The events as they are, for programs.
    Json,
    /// ntfy.
    Ntfy,
    /// A bot of Telegram.
    Telegram,
    /// Slack, and what takes the same words: Mattermost, Discord at `/slack`.
    Slack,
}

impl Template {
    /// All of them, as the file writes them.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("json", Self::Json),
        ("ntfy", Self::Ntfy),
        ("telegram", Self::Telegram),
        ("slack", Self::Slack),
    ];
    /// Where bots of Telegram speak, where the file does not say.
    pub const TELEGRAM: &'static str = "https://api.telegram.org/";
}

/// E-mail by a program that takes it as sendmail does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Who gets it, at least one.
    pub to: Vec<String>,
    /// Who it says it is from; none: as the program has it.
    pub from: Option<String>,
    /// The program.
    pub program: PathBuf,
    /// Whom it runs as; none: `nobody`, where we may choose.
    pub user: Option<String>,
}

/// The URL of a server that is told something. Never printed whole: many are a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether over TLS.
    pub is_secure: bool,
    /// Whom to speak to.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// Path and query, beginning with a slash.
    pub path: String,
}

/// Longer paths are none.
const PATH_MAX: usize = 2000;

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, as half a sentence that does not repeat it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://"))
        {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err("begins neither with https:// nor with http://"),
        };
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err("has a user's name in it; use `token_file`");
        }
        let is_plain = path.chars().all(|c| c.is_ascii_graphic());
        if path.contains('#') || !is_plain || path.len() > PATH_MAX {
            return Err("has a path that no server is asked for");
        }
        let (inside, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (inside, port) = rest.split_once(']').ok_or("has no host")?;
                let inside = inside.parse().ok().filter(IpAddr::is_ipv6);
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or("has no port that there is")?),
                };
                (Host::Address(inside.ok_or("has no host")?), port)
            }
            None => {
                let (name, port) = match authority.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (authority, None),
                };
                (host(name).ok_or("has no host")?, port)
            }
        };
        let is_number = |p: &str| p.bytes().all(|b| b.is_ascii_digit());
        let port = match port {
            None if is_secure => 443,
            None => 80,
            Some(port) => (port.parse().ok())
                .filter(|n| *n != 0 && is_number(port))
                .ok_or("has no port that there is")?,
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_secure,
            host: inside,
            port,
            path: format!("{slash}{path}"),
        })
    }

    /// The host and, where it is not the usual one, the port: what the header `Host` says.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Address(IpAddr::V4(_)) | Host::Name(_) => self.host.to_string(),
        };
        let usual = if self.is_secure { 443 } else { 80 };
        match self.port == usual {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

/// An address or a name. One without a dot may be a name here: the system's resolver is asked.
fn host(word: &str) -> Option<Host> {
    if let Ok(address) = word.parse() {
        return Some(Host::Address(address));
    }
    let name = word.to_ascii_lowercase();
    let is_label = |label: &str| {
        let signs = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(signs)
    };
    let labels = name.strip_suffix('.').unwrap_or(&name);
    let is_name = name.len() <= 253 && labels.split('.').all(is_label);
    // One that ends with a number is a slip in an address.
    let last = labels.rsplit('.').next()?;
    let is_number = last.bytes().all(|b| b.is_ascii_digit());
    (is_name && !is_number).then_some(Host::Name(name))
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}/…)", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, UplinkName, health::Reason};

    fn health(from: Health, to: Health) -> Notice {
        Notice::Health {
            uplink: UplinkName::new("isp1").unwrap(),
            family: Family::V4,
            from,
            to,
            reason: Reason::NoCarrier,
        }
    }

    #[test]
    fn people_are_woken_for_what_ends_and_comes_back_and_for_no_start() {
        let usual = Wanted::usual();
        for (from, to, is_told) in [
            (Health::Unknown, Health::Up, false),
            (Health::Unknown, Health::Down, true),
            (Health::Up, Health::Down, true),
            (Health::Down, Health::Up, true),
            (Health::Down, Health::Degraded, true),
            (Health::Up, Health::Degraded, false),
            (Health::Degraded, Health::Up, false),
            (Health::Degraded, Health::Down, true),
        ] {
            assert_eq!(usual.has(&health(from, to)), is_told, "{from} to {to}");
            assert!(Wanted::All.has(&health(from, to)));
        }
        assert!(!usual.has(&Notice::Started));
        assert!(usual.has(&Notice::RolledBack {
            reason: String::new()
        }));
    }

    #[test]
    fn a_url_is_read_and_printed_without_its_path() {
        let url = |text: &str| Url::parse(text);
        let slack = url("https://Hooks.example.com/services/T0/SECRET").unwrap();
        assert_eq!(slack.authority(), "hooks.example.com");
        assert_eq!(slack.path, "/services/T0/SECRET");
        assert!(slack.is_secure && slack.port == 443);
        assert_eq!(format!("{slack:?}"), "Url(hooks.example.com/…)");
        let local = url("http://homeassistant:8123/api/webhook/x?y=1").unwrap();
        assert_eq!(local.authority(), "homeassistant:8123");
        assert_eq!(
            url("http://[2001:db8::1]").unwrap().authority(),
            "[2001:db8::1]"
        );
        assert_eq!(
            url("https://192.0.2.1:8443?a").unwrap(),
            Url {
                is_secure: true,
                host: Host::Address([192, 0, 2, 1].into()),
                port: 8443,
                path: "/?a".to_owned(),
            }
        );
        for wrong in [
            "",
            "ntfy.sh/x",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://a b/",
            "https://u:p@a/",
            "https://a/\r\nHost: b",
            "https://a/ä",
            "https://a/#x",
            "https://a:0/",
            "https://a:+1/",
            "https://a:99999/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[192.0.2.1]/",
            "https://192.0.2/",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
