//! The keys of the file: the one list that the reader, the schema and the sample are held against.

/// What a key's value looks like. Bounds stand here once, for the schema and for the checks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The name of an interface.
    Interface,
    /// A list of interfaces.
    Interfaces,
    /// A whole number.
    Integer(Bounds),
    /// A length of time, as text with a unit.
    Duration,
    /// `auto` or an IPv4 address.
    Gateway,
    /// `masquerade`, `none` or an IPv4 address.
    Nat,
    /// A list of probe targets.
    Targets,
    /// A 32 bit mask, as a number or as text in hexadecimal.
    MarkMask,
    /// The name of an nft table.
    NftName,
    /// A table of keys.
    Table(&'static Keys),
    /// A table of tables, by a name that the user chooses.
    Named(&'static Keys),
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
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// The default as TOML; none where the key is required or a table.
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

pub(crate) const WEIGHT: Bounds = Bounds::new(1, uplinkd_model::Group::WEIGHT_MAX as i128);
/// More targets than anybody has; how many there are is checked against the targets themselves.
pub(crate) const QUORUM: Bounds = Bounds::new(1, 1000);
pub(crate) const STREAK: Bounds = Bounds::new(1, 1000);
/// 0 to 4 mean something to the kernel and to `ip`.
pub(crate) const PROTO: Bounds = Bounds::new(5, 255);
/// Behind the kernel's own tables 253 to 255, and ending before the numbers do.
pub(crate) const TABLES: Bounds = Bounds::new(
    256,
    u32::MAX as i128 - uplinkd_model::Reserve::TABLES as i128,
);
/// The priority of the rule that asks table `main`; what stands behind it is never asked.
const PRIORITY_MAIN: i128 = 32766;
/// Behind rule 0, and ending before the rule that asks table `main`.
pub(crate) const PRIORITY: Bounds = Bounds::new(
    1,
    PRIORITY_MAIN - uplinkd_model::Reserve::PRIORITIES as i128,
);
pub(crate) const NEXTHOP_IDS: Bounds = Bounds::new(
    1,
    u32::MAX as i128 - uplinkd_model::Reserve::NEXTHOPS as i128,
);

const fn optional(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default: Some(default),
        example: default,
        meaning,
        is_required: false,
    }
}

const fn table(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key {
        name,
        kind,
        default: None,
        example: "",
        meaning,
        is_required: false,
    }
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
        Key {
            is_required: true,
            ..table(
                "uplink",
                Kind::Named(&UPLINK),
                "the ways to the internet, by name",
            )
        },
        table(
            "probe",
            Kind::Table(&PROBE_ALL),
            "how every uplink is watched, unless it says otherwise itself",
        ),
        table(
            "reserve",
            Kind::Table(&RESERVE),
            "the numbers and names that are claimed in the kernel",
        ),
    ],
    later: &["group", "policy"],
};

/// `[uplink.NAME]`.
pub(crate) static UPLINK: Keys = Keys {
    header: "uplink.NAME",
    keys: &[
        Key {
            name: "interface",
            kind: Kind::Interface,
            default: None,
            example: r#""eth1""#,
            meaning: "the network interface that leads to the provider",
            is_required: true,
        },
        optional(
            "weight",
            Kind::Integer(WEIGHT),
            "1",
            "share of new connections beside the other uplinks' weights",
        ),
        table("ipv4", Kind::Table(&IPV4), "how IPv4 leaves by this uplink"),
        table(
            "probe",
            Kind::Table(&PROBE),
            "how this uplink is watched; what is missing here comes from [probe]",
        ),
    ],
    later: &["budget", "ipv6"],
};

/// `[uplink.NAME.ipv4]`.
pub(crate) static IPV4: Keys = Keys {
    header: "uplink.NAME.ipv4",
    keys: &[
        optional(
            "gateway",
            Kind::Gateway,
            r#""auto""#,
            "the next hop: \"auto\" (learned from the default route of DHCP, PPP or the administrator) or an address",
        ),
        optional(
            "nat",
            Kind::Nat,
            r#""masquerade""#,
            "what becomes of source addresses: \"masquerade\", \"none\" or the address to use instead",
        ),
    ],
    later: &[],
};

const PROBE_KEYS: &[Key] = &[
    optional(
        "targets",
        Kind::Targets,
        r#"["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8"]"#,
        "who is asked; the gateway only explains, the others decide; none: the link alone decides",
    ),
    optional(
        "quorum",
        Kind::Integer(QUORUM),
        "1",
        "how many of the deciding targets must answer",
    ),
    optional(
        "interval",
        Kind::Duration,
        r#""500ms""#,
        "time between two questions to a target",
    ),
    optional(
        "timeout",
        Kind::Duration,
        r#""1s""#,
        "how long an answer may take",
    ),
    optional(
        "fall",
        Kind::Integer(STREAK),
        "3",
        "lost answers in a row until a target counts as silent",
    ),
    optional(
        "rise",
        Kind::Integer(STREAK),
        "5",
        "answers in a row until a silent target counts again",
    ),
];
const PROBE_LATER: &[&str] = &["loss", "profile", "rtt"];

/// `[uplink.NAME.probe]`.
pub(crate) static PROBE: Keys = Keys {
    header: "uplink.NAME.probe",
    keys: PROBE_KEYS,
    later: PROBE_LATER,
};

/// `[probe]`, with the same keys.
pub(crate) static PROBE_ALL: Keys = Keys {
    header: "probe",
    keys: PROBE_KEYS,
    later: PROBE_LATER,
};

/// `[reserve]`.
pub(crate) static RESERVE: Keys = Keys {
    header: "reserve",
    keys: &[
        optional(
            "proto",
            Kind::Integer(PROTO),
            "177",
            "protocol number on our routes, rules and nexthops",
        ),
        optional(
            "tables",
            Kind::Integer(TABLES),
            "7000",
            "first of 65536 routing table numbers",
        ),
        optional(
            "rule_priority",
            Kind::Integer(PRIORITY),
            "2000",
            "first of 100 rule priorities for the rules that must come early",
        ),
        optional(
            "rule_priority_last",
            Kind::Integer(PRIORITY),
            "32000",
            "first of 100 rule priorities for the last resort, behind other software's rules",
        ),
        optional(
            "nexthop_ids",
            Kind::Integer(NEXTHOP_IDS),
            "177000000",
            "first of 1048576 nexthop ids",
        ),
        optional(
            "mark_mask",
            Kind::MarkMask,
            r#""0xff000000""#,
            "the bits of packet and connection marks that are ours: one run of 4 or more",
        ),
        optional(
            "nft_table",
            Kind::NftName,
            r#""uplinkd""#,
            "the name of our nft table (family inet)",
        ),
    ],
    later: &[],
};

/// All tables, for finding the one where a misplaced key belongs.
pub(crate) static ALL: [&Keys; 6] = [&TOP, &UPLINK, &IPV4, &PROBE, &PROBE_ALL, &RESERVE];

/// What other software calls our keys. Proposed where somebody writes the word on the left.
pub(crate) const ELSEWHERE: [(&str, &str); 16] = [
    ("wan", "uplink"),
    ("wans", "uplink"),
    ("dev", "interface"),
    ("device", "interface"),
    ("iface", "interface"),
    ("ifname", "interface"),
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
];
