//! The keys of `[group.NAME]` and `[[policy]]`, and of the tables below them.

use super::{Attribute, Key, Keys, Kind, absent, optional, required, table, uplink::WEIGHT};

/// `[group.NAME]`.
pub(crate) static GROUP: Keys = Keys {
    header: "group.NAME",
    keys: &[
        absent(
            "tiers",
            Kind::Tiers(&MEMBER),
            r#"[["isp1"], ["isp2"]]"#,
            "preference levels, best first: a later one serves while no uplink of an earlier one is live (needed, but for `default`: there it is one tier of every uplink)",
        ),
        optional(
            "failback",
            Kind::WordOrTable(&["at-once", "by-hand"], &FAILBACK),
            r#""at-once""#,
            "when it returns to a better tier, and what becomes of connections on the worse one",
        ),
        optional(
            "sticky",
            Kind::WordOrTable(&["connection", "source", "source-destination"], &STICKY),
            r#""connection""#,
            "what keeps to the uplink that it was given first, until that uplink fails",
        ),
        optional(
            "balance",
            Kind::Word(&["weights", "least-used", "lowest-latency"]),
            r#""weights""#,
            "by what new connections are shared out inside a tier: \"weights\", or they go to the line that is \"least-used\" or of \"lowest-latency\"",
        ),
        absent(
            "overflow_at",
            Kind::PercentOrOff,
            r#""80%""#,
            "from which part of what a tier can carry on the next tier takes new connections",
        ),
        optional(
            "while_budget",
            Kind::Truth,
            "false",
            "whether uplinks serve in this group only as long as there is something left of their budget",
        ),
        table(
            "yield_at",
            Kind::Table(&YIELD_AT),
            "from what loss and round-trip time on a member yields in this group, whatever its own limits say: to others of its tier, and a whole tier to the next one",
        ),
    ],
    later: &["on_degraded"],
};

/// `[group.NAME.yield_at]`.
pub(crate) static YIELD_AT: Keys = Keys {
    header: "group.NAME.yield_at",
    keys: &[
        absent(
            "loss",
            Kind::PercentOrOff,
            r#""2%""#,
            "the part of lost answers over a minute; without it none",
        ),
        absent(
            "rtt",
            Kind::DurationOrOff,
            r#""150ms""#,
            "the median round-trip time; without it none",
        ),
    ],
    later: &[],
};

/// A member in `tiers`.
pub(crate) static MEMBER: Keys = Keys {
    header: "group.NAME.tiers",
    keys: &[
        required("uplink", Kind::UplinkName, r#""isp1""#, "which uplink"),
        absent(
            "weight",
            Kind::Weight(WEIGHT),
            "9",
            "share of the tier's new connections, or \"auto\" (default: the uplink's own weight)",
        ),
    ],
    later: &[],
};

/// `[group.NAME.failback]`.
pub(crate) static FAILBACK: Keys = Keys {
    header: "group.NAME.failback",
    keys: &[
        absent(
            "after",
            Kind::Duration,
            r#""60s""#,
            "how long a better tier must be live without a break",
        ),
        optional(
            "by_hand",
            Kind::Truth,
            "false",
            "only when somebody says so",
        ),
        optional(
            "flows",
            Kind::Word(&["keep", "drain", "move"]),
            r#""drain""#,
            "connections on the worse tier: \"keep\" and sticky ones stay, \"drain\" and new ones move, \"move\" all at once",
        ),
    ],
    later: &[],
};

/// `[group.NAME.sticky]`.
pub(crate) static STICKY: Keys = Keys {
    header: "group.NAME.sticky",
    keys: &[
        required(
            "by",
            Kind::Word(&["source", "source-destination"]),
            r#""source""#,
            "by what a choice is remembered",
        ),
        optional(
            "for",
            Kind::Duration,
            r#""24h""#,
            "how long after the last new connection",
        ),
    ],
    later: &[],
};

/// `[[policy]]`.
pub(crate) static POLICY: Keys = Keys {
    header: "policy",
    keys: &[
        absent(
            "name",
            Kind::PolicyName,
            r#""voip""#,
            "its name, unique in the file (default: policy-N, by its place in the file)",
        ),
        table(
            "match",
            Kind::Table(&MATCH),
            "what must hold, all of it; without it every connection matches",
        ),
        required(
            "use",
            Kind::Destination,
            r#""calls""#,
            "where matching connections go: a group, an uplink, \"block\", or \"main\" (the main table decides)",
        ),
        optional(
            "otherwise",
            Kind::Destination,
            r#""default""#,
            "what serves when nothing in `use` is live: \"default\" (the default group), \"block\", or another group or uplink",
        ),
        optional(
            "flows",
            Kind::Word(&["keep", "move"]),
            r#""keep""#,
            "older connections that this policy now forbids their uplink: \"keep\" or \"move\"",
        ),
    ],
    later: &[],
};

const fn values(
    name: &'static str,
    attribute: Attribute,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    absent(name, Kind::Values(attribute), example, meaning)
}

/// How many things a policy can look at.
const ATTRIBUTES: usize = 17;

const CONDITIONS: [Key; ATTRIBUTES] = [
    values(
        "source",
        Attribute::Source,
        r#"["192.168.1.20", "10.0.0.0/8", { file = "nets.txt" }]"#,
        "source: addresses, prefixes, ranges, files of them",
    ),
    values(
        "destination",
        Attribute::Destination,
        r#"["203.0.113.0/24", "2001:db8::1-2001:db8::9"]"#,
        "destination: addresses, prefixes, ranges, files of them",
    ),
    values(
        "protocol",
        Attribute::Protocol,
        r#""udp""#,
        "protocols, by name or number; \"icmp\" is ICMPv6 for IPv6",
    ),
    values(
        "sport",
        Attribute::SourcePort,
        r#"[123, "1024-2047"]"#,
        "source ports and ranges of them",
    ),
    values(
        "dport",
        Attribute::DestinationPort,
        r#"[443, "5060-5061"]"#,
        "destination ports and ranges of them",
    ),
    values(
        "interface",
        Attribute::Interface,
        r#""br-guest""#,
        "interfaces that the connection comes in by",
    ),
    values(
        "mac",
        Attribute::Mac,
        r#""52:54:00:12:34:56""#,
        "Ethernet addresses of devices in the LAN",
    ),
    values(
        "dscp",
        Attribute::Dscp,
        r#"["ef", 26]"#,
        "differentiated services code points, by name or number",
    ),
    values(
        "mark",
        Attribute::Mark,
        r#""0x10/0xff""#,
        "packet marks that other software sets, with or without a mask",
    ),
    values(
        "user",
        Attribute::User,
        r#""backup""#,
        "users of this machine's own connections, by name or number",
    ),
    values(
        "group",
        Attribute::Group,
        r#""backup""#,
        "groups of this machine's own connections, by name or number",
    ),
    values(
        "cgroup",
        Attribute::Cgroup,
        r#""system.slice/backup.service""#,
        "control groups of this machine's own connections, with all below them",
    ),
    values(
        "unit",
        Attribute::Unit,
        r#""backup.service""#,
        "systemd units of this machine's own connections",
    ),
    values(
        "icmp",
        Attribute::Icmp,
        r#""echo-request""#,
        "ICMP and ICMPv6 types, by name or number",
    ),
    values(
        "schedule",
        Attribute::Schedule,
        r#""mon-fri 08:00-18:00""#,
        "days and hours of local time; hours across midnight belong to the day they begin on",
    ),
    values(
        "domain",
        Attribute::Domain,
        r#"["zoom.us", "*.netflix.com"]"#,
        "names whose addresses a resolver puts into our sets; all names below them count too",
    ),
    values(
        "family",
        Attribute::Family,
        r#""ipv6""#,
        "\"ipv4\" or \"ipv6\"",
    ),
];

/// `match` of a policy.
pub(crate) static MATCH: Keys = Keys {
    header: "policy.match",
    keys: &{
        let mut keys = [const { table("not", Kind::Table(&NOT), "what must not hold, none of it") };
            ATTRIBUTES + 1];
        let mut i = 0;
        while i < ATTRIBUTES {
            keys[i] = CONDITIONS[i];
            i += 1;
        }
        keys
    },
    later: &[],
};

/// `match.not` of a policy, with the same keys.
pub(crate) static NOT: Keys = Keys {
    header: "policy.match.not",
    keys: &CONDITIONS,
    later: &[],
};

/// A file of prefixes, among the values of `source` and `destination`.
pub(crate) static LIST_FILE: Keys = Keys {
    header: "policy.match.source",
    keys: &[required(
        "file",
        Kind::Path,
        r#""nets.txt""#,
        "a file of addresses, prefixes and ranges, one a line, `#` for comments; its place is relative to this file",
    )],
    later: &[],
};
