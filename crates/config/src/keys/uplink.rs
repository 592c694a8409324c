//! The keys of `[uplink.NAME]` and of the tables below it.

use uplinkd_model::{Family, Group};

use super::{Bounds, Key, Keys, Kind, TARGET, absent, optional, required, table};

pub(crate) const WEIGHT: Bounds = Bounds::new(1, Group::WEIGHT_MAX as i128);
/// More targets than anybody has; how many there are is checked against the targets themselves.
pub(crate) const QUORUM: Bounds = Bounds::new(1, 1000);
pub(crate) const STREAK: Bounds = Bounds::new(1, 1000);

/// `[uplink.NAME]`.
pub(crate) static UPLINK: Keys = Keys {
    header: "uplink.NAME",
    keys: &[
        required(
            "interface",
            Kind::Interface,
            r#""eth1""#,
            "the network interface that leads to the provider: its name, an alternative name, or a beginning and an asterisk (\"ppp*\") where it comes back under another number",
        ),
        optional(
            "weight",
            Kind::Weight(WEIGHT),
            "1",
            "share of new connections beside the other uplinks' weights; or \"auto\": it follows what the lines can carry",
        ),
        table(
            "rate",
            Kind::Table(&RATE),
            "what the line can carry, for telling a full line from a bad one",
        ),
        table(
            "budget",
            Kind::Table(&BUDGET),
            "how much it may carry in a time, both directions together",
        ),
        optional(
            "on_degraded",
            Kind::Word(&["yield", "keep"]),
            r#""yield""#,
            "what becomes of new connections while this uplink is degraded: \"yield\" to uplinks of the same tier that are well, or \"keep\" them",
        ),
        table("ipv4", Kind::Table(&IPV4), "how IPv4 leaves by this uplink"),
        table("ipv6", Kind::Table(&IPV6), "how IPv6 leaves by this uplink"),
        table(
            "probe",
            Kind::Table(&PROBE),
            "how this uplink is watched; what is missing here comes from [probe]",
        ),
    ],
    later: &[],
};

pub(crate) const DAY_OF_MONTH: Bounds = Bounds::new(1, 31);

/// `[uplink.NAME.budget]`.
pub(crate) static BUDGET: Keys = Keys {
    header: "uplink.NAME.budget",
    keys: &[
        required(
            "limit",
            Kind::Size,
            r#""50GB""#,
            "bytes, both directions together",
        ),
        optional(
            "period",
            Kind::WordOrTable(&["month", "week", "day"], &PERIOD),
            r#""month""#,
            "in which time; days begin at midnight, local time, and weeks on Monday",
        ),
        optional(
            "reset_day",
            Kind::Integer(DAY_OF_MONTH),
            "1",
            "the day on which a month begins; where it has no such day, its last",
        ),
        optional(
            "warn_at",
            Kind::Percents,
            r#"["75%", "95%"]"#,
            "from which parts of the limit on people are told, once in each period",
        ),
        optional(
            "at_limit",
            Kind::Word(&["last-resort", "off", "keep"]),
            r#""last-resort""#,
            "what becomes of it at the limit: it serves only where no other uplink does, carries nothing, or is only told",
        ),
    ],
    later: &[],
};

/// `period` as a table.
pub(crate) static PERIOD: Keys = Keys {
    header: "uplink.NAME.budget.period",
    keys: &[required(
        "rolling",
        Kind::Duration,
        r#""30d""#,
        "so many days up to and including today",
    )],
    later: &[],
};

/// `[uplink.NAME.rate]`.
pub(crate) static RATE: Keys = Keys {
    header: "uplink.NAME.rate",
    keys: &[
        absent(
            "down",
            Kind::Rate,
            r#""100mbit""#,
            "bits a second towards this machine; without it the highest that was measured counts",
        ),
        absent(
            "up",
            Kind::Rate,
            r#""40mbit""#,
            "bits a second away from this machine",
        ),
    ],
    later: &[],
};

/// `[uplink.NAME.ipv4]`.
pub(crate) static IPV4: Keys = Keys {
    header: "uplink.NAME.ipv4",
    keys: &access(Family::V4),
    later: &[],
};

/// `[uplink.NAME.ipv6]`.
pub(crate) static IPV6: Keys = Keys {
    header: "uplink.NAME.ipv6",
    keys: &{
        let mut keys = [PREFIX_KEY; 4];
        let common = access(Family::V6);
        let mut i = 0;
        while i < common.len() {
            keys[i] = common[i];
            i += 1;
        }
        keys
    },
    later: &[],
};

const PREFIX_KEY: Key = optional(
    "prefix",
    Kind::Delegated(&PREFIX),
    r#""auto""#,
    "the prefix that the provider routes here: \"auto\" (learned from routes and addresses), a prefix, or the range that it lies in",
);

/// `prefix` as a table.
pub(crate) static PREFIX: Keys = Keys {
    header: "uplink.NAME.ipv6.prefix",
    keys: &[required(
        "within",
        Kind::Prefix,
        r#""2001:db8::/32""#,
        "a range: whatever prefix is found on this machine inside it belongs to this uplink",
    )],
    later: &[],
};

const fn access(family: Family) -> [Key; 3] {
    [
        optional(
            "use",
            Kind::Truth,
            "true",
            "whether this family leaves by this uplink; without a table for it, where the interface has it",
        ),
        optional(
            "gateway",
            Kind::Gateway(family),
            r#""auto""#,
            "the next hop: \"auto\" (learned from the default route of DHCP, PPP, router advertisements or the administrator) or an address",
        ),
        optional(
            "nat",
            Kind::Nat(family),
            match family {
                Family::V4 => r#""masquerade""#,
                Family::V6 => r#""auto""#,
            },
            match family {
                Family::V4 => {
                    "what becomes of source addresses: \"masquerade\", \"none\" or the address to use instead"
                }
                Family::V6 => {
                    "what becomes of source addresses: \"auto\" (this uplink's own prefix is left alone, the rest masqueraded), \"prefix\" (other networks are translated to its prefix one to one), \"masquerade\", \"none\" or the address to use instead"
                }
            },
        ),
    ]
}

/// The words that `nat` may be.
pub(crate) const fn nat_words(family: Family) -> &'static [&'static str] {
    match family {
        Family::V4 => &["masquerade", "none"],
        Family::V6 => &["auto", "prefix", "masquerade", "none"],
    }
}

const TARGETS: &str = r#"["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8", "icmp:2606:4700:4700::1111", "icmp:2001:4860:4860::8888"]"#;

const PROBE_KEYS: &[Key] = &[
    Key {
        example: r#"["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8"]"#,
        ..optional(
            "targets",
            Kind::Targets(&TARGET),
            TARGETS,
            "who is asked: \"gateway\", \"neighbour\", \"icmp:HOST\", \"tcp:HOST:PORT\", \"dns\", \"dns:SERVER/NAME\", \"https://…\", or a table with more about it; the gateway only explains, the others decide; none: the link alone decides",
        )
    },
    optional(
        "quorum",
        Kind::Integer(QUORUM),
        "1",
        "how many of the deciding targets of a family must answer, or all where it has fewer",
    ),
    optional(
        "profile",
        Kind::Word(&["fast", "balanced", "metered"]),
        r#""balanced""#,
        "a set of the numbers below: \"fast\", \"balanced\", or \"metered\" for lines where each byte costs",
    ),
    optional(
        "interval",
        Kind::Duration,
        r#""1s""#,
        "time between two questions to a target while all is well",
    ),
    optional(
        "burst",
        Kind::Duration,
        r#""70ms""#,
        "the same after a missed answer or another sign of trouble, until it is clear what is wrong",
    ),
    optional(
        "timeout",
        Kind::Duration,
        r#""1s""#,
        "how long an answer may take; it is missed sooner, by the target's own round-trip times, but counts until then",
    ),
    optional(
        "fall",
        Kind::Integer(STREAK),
        "3",
        "missed answers in a row until a target counts as silent; more on a line that loses some anyway",
    ),
    optional(
        "rise",
        Kind::Integer(STREAK),
        "5",
        "answers in a row until a silent target of a dead line counts again",
    ),
    optional(
        "window",
        Kind::Duration,
        r#""10s""#,
        "over how long loss and round-trip times are judged",
    ),
    table(
        "loss",
        Kind::Table(&LOSS),
        "from what part of lost answers on the uplink is degraded, and failed",
    ),
    table(
        "rtt",
        Kind::Table(&RTT),
        "from what round-trip time on, at the median, the uplink is degraded, and failed",
    ),
    optional(
        "hold",
        Kind::Duration,
        r#""0s""#,
        "how long the uplink stays down or degraded at least",
    ),
    optional(
        "damping",
        Kind::DurationOrOff,
        r#""60s""#,
        "half-life of the penalty that holds back an uplink which fails again and again; or \"off\"",
    ),
    optional(
        "tcp_sign",
        Kind::Truth,
        "true",
        "whether TCP connections on the uplink are watched for signs of trouble, where the kernel allows",
    ),
];

/// `loss` of `[probe]`.
pub(crate) static LOSS: Keys = Keys {
    header: "probe.loss",
    keys: &[
        optional(
            "degraded",
            Kind::PercentOrOff,
            r#""10%""#,
            "it is degraded from here on",
        ),
        optional(
            "fail",
            Kind::PercentOrOff,
            r#""off""#,
            "it is down from here on",
        ),
    ],
    later: &[],
};

/// `rtt` of `[probe]`.
pub(crate) static RTT: Keys = Keys {
    header: "probe.rtt",
    keys: &[
        optional(
            "degraded",
            Kind::DurationOrOff,
            r#""off""#,
            "it is degraded from here on",
        ),
        optional(
            "fail",
            Kind::DurationOrOff,
            r#""off""#,
            "it is down from here on",
        ),
    ],
    later: &[],
};

/// `[uplink.NAME.probe]`.
pub(crate) static PROBE: Keys = Keys {
    header: "uplink.NAME.probe",
    keys: PROBE_KEYS,
    later: &[],
};

/// `[probe]`, with the same keys.
pub(crate) static PROBE_ALL: Keys = Keys {
    header: "probe",
    keys: PROBE_KEYS,
    later: &[],
};
