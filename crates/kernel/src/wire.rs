//! The kernel's numbers for messages and attributes of rtnetlink, in one place for both directions.

/// Message kinds.
pub(crate) mod message {
    pub(crate) const NEW_LINK: u16 = 16;
    pub(crate) const DELETE_LINK: u16 = 17;
    pub(crate) const GET_LINK: u16 = 18;
    pub(crate) const NEW_ADDRESS: u16 = 20;
    pub(crate) const DELETE_ADDRESS: u16 = 21;
    pub(crate) const GET_ADDRESS: u16 = 22;
    pub(crate) const NEW_ROUTE: u16 = 24;
    pub(crate) const DELETE_ROUTE: u16 = 25;
    pub(crate) const GET_ROUTE: u16 = 26;
    pub(crate) const NEW_NEIGHBOUR: u16 = 28;
    pub(crate) const NEW_RULE: u16 = 32;
    pub(crate) const DELETE_RULE: u16 = 33;
    pub(crate) const GET_RULE: u16 = 34;
    pub(crate) const NEW_NEXTHOP: u16 = 104;
    pub(crate) const DELETE_NEXTHOP: u16 = 105;
    pub(crate) const GET_NEXTHOP: u16 = 106;
    /// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`.
    pub(crate) const DELETE_CONNECTIONS: u16 = 0x102;
    /// `IPCTNL_MSG_CT_GET`.
    pub(crate) const GET_CONNECTIONS: u16 = 0x101;
}

/// Lengths of the fixed parts that come before the attributes.
pub(crate) mod fixed {
    /// `struct ifinfomsg`.
    pub(crate) const LINK: usize = 16;
    /// `struct ifaddrmsg`.
    pub(crate) const ADDRESS: usize = 8;
    /// `struct rtmsg`, and `struct fib_rule_hdr`, which is laid out alike.
    pub(crate) const ROUTE: usize = 12;
    /// `struct nhmsg`.
    pub(crate) const NEXTHOP: usize = 8;
    /// `struct rtnexthop`.
    pub(crate) const HOP: usize = 8;
}

/// `IFLA_…` and interface flags.
pub(crate) mod link {
    pub(crate) const NAME: u16 = 3;
    pub(crate) const PROPERTIES: u16 = 52;
    /// Inside the properties.
    pub(crate) const ALTERNATIVE_NAME: u16 = 53;
    pub(crate) const EXT_MASK: u16 = 29;
    /// Leaves counters, which are most of a link's message, out of a dump.
    pub(crate) const SKIP_STATS: u32 = 1 << 3;
    pub(crate) const FLAG_UP: u32 = 0x1;
    pub(crate) const FLAG_POINT_TO_POINT: u32 = 0x10;
    pub(crate) const FLAG_LOWER_UP: u32 = 0x1_0000;
}

/// `IFA_…`.
pub(crate) mod address {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const LOCAL: u16 = 2;
    pub(crate) const FLAGS: u16 = 8;
    pub(crate) const FLAG_DAD_FAILED: u32 = 0x08;
    pub(crate) const FLAG_DEPRECATED: u32 = 0x20;
    pub(crate) const FLAG_TENTATIVE: u32 = 0x40;
}

/// `RTA_…`, `RTN_…`, `RT_SCOPE_…`.
pub(crate) mod route {
    pub(crate) const DESTINATION: u16 = 1;
    pub(crate) const SOURCE_PREFIX: u16 = 2;
    pub(crate) const IIF: u16 = 3;
    pub(crate) const OIF: u16 = 4;
    pub(crate) const GATEWAY: u16 = 5;
    pub(crate) const PRIORITY: u16 = 6;
    pub(crate) const SOURCE: u16 = 7;
    pub(crate) const MULTIPATH: u16 = 9;
    pub(crate) const CACHE_INFO: u16 = 12;
    pub(crate) const TABLE: u16 = 15;
    pub(crate) const MARK: u16 = 16;
    pub(crate) const VIA: u16 = 18;
    pub(crate) const ENCAP: u16 = 22;
    pub(crate) const UID: u16 = 25;
    pub(crate) const IP_PROTO: u16 = 27;
    pub(crate) const SOURCE_PORT: u16 = 28;
    pub(crate) const DESTINATION_PORT: u16 = 29;
    pub(crate) const NEXTHOP_ID: u16 = 30;

    pub(crate) const UNICAST: u8 = 1;
    pub(crate) const LOCAL: u8 = 2;
    pub(crate) const BLACKHOLE: u8 = 6;
    pub(crate) const UNREACHABLE: u8 = 7;
    pub(crate) const PROHIBIT: u8 = 8;

    pub(crate) const SCOPE_UNIVERSE: u8 = 0;
    pub(crate) const SCOPE_LINK: u8 = 253;
    pub(crate) const SCOPE_NOWHERE: u8 = 255;

    /// A cached copy of a route, which dumps of IPv6 may show.
    pub(crate) const FLAG_CLONED: u32 = 0x200;
    /// `RTNH_F_ONLINK`, among the flags of a route, of one of its ways and of a nexthop object.
    pub(crate) const FLAG_ON_LINK: u32 = 4;
    /// What `CACHE_INFO` counts in (`USER_HZ`), whatever the kernel itself does.
    pub(crate) const TICKS_PER_SECOND: u32 = 100;
    /// `RTPROT_RA`.
    pub(crate) const PROTO_RA: u8 = 9;
    /// What IPv6 makes of a metric of zero.
    pub(crate) const METRIC_DEFAULT_V6: u32 = 1024;
}

/// `FRA_…`, `FR_ACT_…`.
pub(crate) mod rule {
    pub(crate) const TO: u16 = 1;
    pub(crate) const FROM: u16 = 2;
    pub(crate) const IIF: u16 = 3;
    pub(crate) const PRIORITY: u16 = 6;
    pub(crate) const MARK: u16 = 10;
    pub(crate) const SUPPRESS_PREFIX_LENGTH: u16 = 14;
    pub(crate) const TABLE: u16 = 15;
    pub(crate) const MASK: u16 = 16;
    pub(crate) const OIF: u16 = 17;
    pub(crate) const PADDING: u16 = 18;
    pub(crate) const PROTO: u16 = 21;

    pub(crate) const ACTION_LOOKUP: u8 = 1;
    pub(crate) const ACTION_PROHIBIT: u8 = 8;
    pub(crate) const FLAG_INVERT: u32 = 0x2;
}

/// `NHA_…`.
pub(crate) mod nexthop {
    pub(crate) const ID: u16 = 1;
    pub(crate) const GROUP: u16 = 2;
    pub(crate) const GROUP_TYPE: u16 = 3;
    pub(crate) const BLACKHOLE: u16 = 4;
    pub(crate) const OIF: u16 = 5;
    pub(crate) const GATEWAY: u16 = 6;
    pub(crate) const ENCAP: u16 = 8;
    pub(crate) const FDB: u16 = 11;
    /// Length of a group's entry.
    pub(crate) const ENTRY: usize = 8;
}

/// `CTA_…`.
pub(crate) mod connection {
    pub(crate) const ORIGINAL: u16 = 1;
    pub(crate) const REPLY: u16 = 2;
    pub(crate) const MARK: u16 = 8;
    pub(crate) const MARK_MASK: u16 = 21;

    /// Inside a direction.
    pub(crate) const ADDRESSES: u16 = 1;
    pub(crate) const PROTOCOL: u16 = 2;
    /// Inside its addresses; those of IPv6 are two higher.
    pub(crate) const SOURCE: u16 = 1;
    pub(crate) const DESTINATION: u16 = 2;
    /// Inside its protocol.
    pub(crate) const NUMBER: u16 = 1;
    pub(crate) const SOURCE_PORT: u16 = 2;
    pub(crate) const DESTINATION_PORT: u16 = 3;
    /// Identifier, type and code; those of ICMPv6 are three higher.
    pub(crate) const ICMP_ID: u16 = 4;
    pub(crate) const ICMP_TYPE: u16 = 5;
    pub(crate) const ICMP_CODE: u16 = 6;
}
