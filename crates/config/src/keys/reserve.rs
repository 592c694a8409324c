//! The keys of `[reserve]`.

use uplinkd_model::Reserve;

use super::{Bounds, Keys, Kind, optional};

/// 0 to 4 mean something to the kernel and to `ip`.
pub(crate) const PROTO: Bounds = Bounds::new(5, 255);
/// Behind the kernel's own tables 253 to 255, and ending before the numbers do.
pub(crate) const TABLES: Bounds = Bounds::new(256, u32::MAX as i128 - Reserve::TABLES as i128);
/// The priority of the rule that asks table `main`; what stands behind it is never asked.
const PRIORITY_MAIN: i128 = 32766;
/// Behind rule 0, and ending before the rule that asks table `main`.
pub(crate) const PRIORITY: Bounds = Bounds::new(1, PRIORITY_MAIN - Reserve::PRIORITIES as i128);
pub(crate) const NEXTHOP_IDS: Bounds = Bounds::new(1, u32::MAX as i128 - Reserve::NEXTHOPS as i128);
/// Twelve bits number as many uplinks as there is room for in the tables.
pub(crate) const MARK_UPLINK_BITS: Bounds = Bounds::new(1, 12);

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
            "first of 16384 routing table numbers",
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
            "mark_uplink_bits",
            Kind::Integer(MARK_UPLINK_BITS),
            "3",
            "how many of these bits number the uplinks; one is for connections from outside, the rest number what policies lead to (default: a little less than half)",
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
