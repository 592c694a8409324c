//! The keys of `[uplink.NAME]` and of the tables below it.

use uplinkd_model::{Family, Group};

use super::{Bounds, Key, Keys, Kind, optional, required, table};

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
            Kind::Integer(WEIGHT),
            "1",
            "share of new connections beside the other uplinks' weights",
        ),
        table("ipv4", Kind::Table(&IPV4), "how IPv4 leaves by this uplink"),
        table("ipv6", Kind::Table(&IPV6), "how IPv6 leaves by this uplink"),
        table(
            "probe",
            Kind::Table(&PROBE),
            "how this uplink is watched; what is missing here comes from [probe]",
        ),
    ],
    later: &["budget", "on_degraded"],
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
            Kind::Targets,
            TARGETS,
            "who is asked, each family its own; the gateway only explains, the others decide; none: the link alone decides",
        )
    },
    optional(
        "quorum",
        Kind::Integer(QUORUM),
        "1",
        "how many of the deciding targets of a family must answer, or all where it has fewer",
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
