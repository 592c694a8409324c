//! The keys of the file: the one list that the reader, the schema and the sample are held against.
//!
//! Here are the words for describing a key, and the top level; the tables below it are described in
//! `uplink`, `policy` and `reserve`.

mod api;
mod history;
mod notify;
mod policy;
mod record;
mod reserve;
mod target;
mod uplink;

use uplinkd_model::Family;

pub(crate) use api::API;
pub(crate) use history::{HISTORY, HISTORY_MB};
pub(crate) use notify::{EVERYTHING, HOOKS, MAIL, NOTIFY, PER_HOUR, WEBHOOK};
pub(crate) use policy::{FAILBACK, GROUP, LIST_FILE, MATCH, MEMBER, NOT, POLICY, STICKY, YIELD_AT};
pub(crate) use record::{RECORD, RECORD_MB};
pub(crate) use reserve::{MARK_UPLINK_BITS, NEXTHOP_IDS, PRIORITY, PROTO, RESERVE, TABLES};
pub(crate) use target::{STATUS, TARGET};
pub(crate) use uplink::{
    BUDGET, DAY_OF_MONTH, IPV4, IPV6, LOSS, PERIOD, PREFIX, PROBE, PROBE_ALL, QUORUM, RATE, RTT,
    STREAK, UPLINK, WEIGHT, nat_words,
};

/// What a key's value looks like. Bounds stand here once, for the schema and for the checks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The name of an interface.
    Interface,
    /// A list of interfaces.
    Interfaces,
    /// A whole number.
    Integer(Bounds),
    /// A weight: a whole number, or `auto`.
    Weight(Bounds),
    /// A list of parts in percent, as text.
    Percents,
    /// Bytes, as text with a unit.
    Size,
    /// `true` or `false`.
    Truth,
    /// A length of time, as text with a unit.
    Duration,
    /// A length of time, or `off`.
    DurationOrOff,
    /// A part in percent, as text, or `off`.
    PercentOrOff,
    /// Bits a second, as text with a unit.
    Rate,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A list of a few words.
    Words(&'static [&'static str]),
    /// One of a few words, or a table of keys.
    WordOrTable(&'static [&'static str], &'static Keys),
    /// `auto` or an address of the family.
    Gateway(Family),
    /// One of a few words, or an address of the family.
    Nat(Family),
    /// `auto`, an IPv6 prefix, or a table of keys.
    Delegated(&'static Keys),
    /// An IPv6 prefix.
    Prefix,
    /// A list of probe targets, each a text or a table of keys.
    Targets(&'static Keys),
    /// A probe target.
    Target,
    /// A list of texts.
    Texts,
    /// An address, or a list of them.
    Addresses,
    /// A status of HTTP, or a list of them.
    Statuses(Bounds),
    /// Any text.
    Text,
    /// A 32 bit mask, as a number or as text in hexadecimal.
    MarkMask,
    /// The name of an nft table.
    NftName,
    /// The name of an uplink.
    UplinkName,
    /// The name of a policy.
    PolicyName,
    /// The name of a group or an uplink, or a word that stands beside them.
    Destination,
    /// A list of tiers, each a list of members: names of uplinks, or tables of keys.
    Tiers(&'static Keys),
    /// The path of a file.
    Path,
    /// Where something is told by HTTP.
    Url,
    /// An address of this machine's own, with a port.
    Listen,
    /// One value or a list of them, of what a policy can look at.
    Values(Attribute),
    /// A table of keys.
    Table(&'static Keys),
    /// A table of tables, by a name that the user chooses.
    Named(&'static Keys, Names),
    /// A list of tables.
    Listed(&'static Keys),
}

/// What the names of a [`Kind::Named`] look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Names {
    /// As uplinks are named: at least one of them is needed.
    Uplinks,
    /// As groups are named.
    Groups,
}

/// What a policy can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    Family,
    Source,
    Destination,
    Protocol,
    SourcePort,
    DestinationPort,
    Interface,
    Mac,
    Dscp,
    Mark,
    User,
    Group,
    Cgroup,
    Unit,
    Icmp,
    Schedule,
    Domain,
}

impl Attribute {
    /// Whether its values may be written as numbers.
    pub(crate) fn takes_numbers(self) -> bool {
        match self {
            Self::Protocol
            | Self::SourcePort
            | Self::DestinationPort
            | Self::Dscp
            | Self::Mark
            | Self::User
            | Self::Group
            | Self::Icmp => true,
            Self::Family
            | Self::Source
            | Self::Destination
            | Self::Interface
            | Self::Mac
            | Self::Cgroup
            | Self::Unit
            | Self::Schedule
            | Self::Domain => false,
        }
    }

    /// Whether its values may stand in a file of their own.
    pub(crate) fn takes_files(self) -> bool {
        matches!(self, Self::Source | Self::Destination)
    }
}

/// The least and the largest value that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) least: i128,
    pub(crate) most: i128,
}

impl Bounds {
    pub(crate) const fn new(least: i128, most: i128) -> Self {
        Self { least, most }
    }

    /// The value, where it is within the bounds and within its type.
    pub(crate) fn check<T: TryFrom<i128>>(self, value: i128) -> Option<T> {
        (self.least..=self.most)
            .contains(&value)
            .then(|| T::try_from(value).ok())
            .flatten()
    }
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default as TOML; none where the key is required, a table, or absent by default.
    pub(crate) default: Option<&'static str>,
    /// A value as TOML, for hints and editors.
    pub(crate) example: &'static str,
    /// What it is for, in one line.
    pub(crate) meaning: &'static str,
    pub(crate) is_required: bool,
}

/// The keys of one table.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The table as its header writes it; empty for the top level.
    pub(crate) header: &'static str,
    pub(crate) keys: &'static [Key],
    /// Keys of later versions. Refused like unknown ones, but with a word that tells why.
    pub(crate) later: &'static [&'static str],
}

impl Keys {
    pub(crate) fn get(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|k| k.name == name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|k| k.name)
    }
}

/// A key with a default that can be shown.
const fn optional(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        default: Some(default),
        ..absent(name, kind, default, meaning)
    }
}

/// A key that does something only where it is written.
const fn absent(
    name: &'static str,
    kind: Kind,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default: None,
        example,
        meaning,
        is_required: false,
    }
}

const fn required(
    name: &'static str,
    kind: Kind,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        is_required: true,
        ..absent(name, kind, example, meaning)
    }
}

const fn table(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    absent(name, kind, "", meaning)
}

/// The top level.
pub(crate) static TOP: Keys = Keys {
    header: "",
    keys: &[
        Key {
            example: r#"["br-lan"]"#,
            ..optional(
                "lan",
                Kind::Interfaces,
                "[]",
                "interfaces whose traffic is shared out; none: every interface's",
            )
        },
        optional(
            "deprecate",
            Kind::Truth,
            "true",
            "whether hosts are told to avoid IPv6 prefixes of uplinks that are out of service",
        ),
        optional(
            "advertise",
            Kind::Truth,
            "false",
            "whether IPv6 networks of `lan` are advertised to hosts where nothing else here does",
        ),
        Key {
            is_required: true,
            ..table(
                "uplink",
                Kind::Named(&UPLINK, Names::Uplinks),
                "the ways to the internet, by name",
            )
        },
        table(
            "group",
            Kind::Named(&GROUP, Names::Groups),
            "pools of uplinks that policies lead to, by name; `default` serves everything else",
        ),
        table(
            "policy",
            Kind::Listed(&POLICY),
            "traffic that is treated in a way of its own; the first that matches decides",
        ),
        table(
            "probe",
            Kind::Table(&PROBE_ALL),
            "how every uplink is watched, unless it says otherwise itself",
        ),
        table(
            "history",
            Kind::Table(&HISTORY),
            "what is remembered of the lines, in steps of seconds to hours",
        ),
        table(
            "record",
            Kind::Table(&RECORD),
            "what is written down of every sample",
        ),
        table(
            "notify",
            Kind::Table(&NOTIFY),
            "who is told of what happens, and how",
        ),
        table(
            "api",
            Kind::Table(&API),
            "who may ask the daemon, and who may change something",
        ),
        table(
            "reserve",
            Kind::Table(&RESERVE),
            "the numbers and names that are claimed in the kernel",
        ),
    ],
    later: &[],
};

/// All tables, for finding the one where a misplaced key belongs. What may be negated belongs in
/// `match` first.
pub(crate) static ALL: [&Keys; 27] = [
    &TOP, &UPLINK, &IPV4, &IPV6, &PREFIX, &RATE, &BUDGET, &PERIOD, &PROBE, &PROBE_ALL, &LOSS, &RTT,
    &GROUP, &MEMBER, &FAILBACK, &STICKY, &YIELD_AT, &POLICY, &MATCH, &HISTORY, &RECORD, &API,
    &RESERVE, &NOTIFY, &HOOKS, &WEBHOOK, &MAIL,
];

/// What other software calls our keys. Proposed where somebody writes the word on the left.
pub(crate) const ELSEWHERE: [(&str, &str); 38] = [
    ("wan", "uplink"),
    ("wans", "uplink"),
    ("rule", "policy"),
    ("rules", "policy"),
    ("pool", "group"),
    ("dev", "interface"),
    ("device", "interface"),
    ("iface", "interface"),
    ("ifname", "interface"),
    ("iif", "interface"),
    ("ratio", "weight"),
    ("share", "weight"),
    ("router", "gateway"),
    ("nexthop", "gateway"),
    ("snat", "nat"),
    ("track_ip", "targets"),
    ("monitor", "targets"),
    ("reliability", "quorum"),
    ("down", "fall"),
    ("up", "rise"),
    ("members", "tiers"),
    ("persistent", "sticky"),
    ("src", "source"),
    ("from", "source"),
    ("dst", "destination"),
    ("dest", "destination"),
    ("to", "destination"),
    ("proto", "protocol"),
    ("port", "dport"),
    ("ports", "dport"),
    ("tos", "dscp"),
    ("fwmark", "mark"),
    ("uid", "user"),
    ("gid", "group"),
    ("service", "unit"),
    ("time", "schedule"),
    ("target", "use"),
    ("fallback", "otherwise"),
];
