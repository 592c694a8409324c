//! The numbers and names that we claim in the kernel, and the test whether an object is ours.
//!
//! Ours is what carries our protocol number **and** lies in our range; an object that passes only
//! one of the two is foreign and is never touched.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{Mark, NexthopId, Proto, RulePriority, Slot, TableId},
    kernel_state::{Nexthop, Route, Rule},
    net::Family,
    nft::MarkFields,
};

/// What we claim. Every number is derived from one of these fields, nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    /// The protocol number on our routes, rules and nexthops.
    pub proto: Proto,
    /// First of [`Reserve::TABLES`] table numbers.
    pub tables: u32,
    /// First of [`Reserve::PRIORITIES`] rule priorities, for the rules that must come early.
    pub rule_priority: u32,
    /// First of [`Reserve::PRIORITIES`] rule priorities for the last resort: the default group.
    /// Far behind, so that other software's rules (VPNs) are asked before it.
    pub rule_priority_last: u32,
    /// First of [`Reserve::NEXTHOPS`] nexthop ids. High, since other daemons count up from 1.
    pub nexthop_ids: u32,
    /// The bits of packet and connection marks that are ours: one contiguous run, 4 bits or more.
    pub mark_mask: u32,
    /// How many of these bits number the uplinks, from the low end. The next one says that a
    /// connection came in by its uplink, and the rest number the outlets that policies lead to.
    pub mark_uplink_bits: u32,
    /// The name of our nft table (family inet).
    pub nft_table: String,
}

impl Default for Reserve {
    /// Protocol 177, tables from 7000, priorities from 2000 and 32000, nexthops from 177000000, and
    /// the top mark byte, which of the well-known users of marks only Calico also takes.
    fn default() -> Self {
        Self {
            proto: Proto(177),
            tables: 7000,
            rule_priority: 2000,
            rule_priority_last: 32000,
            nexthop_ids: 177_000_000,
            mark_mask: 0xff00_0000,
            mark_uplink_bits: Self::uplink_bits_by_default(0xff00_0000),
            nft_table: "uplinkd".to_owned(),
        }
    }
}

impl Reserve {
    /// How many table numbers we claim: 4,096 services, 4,096 paths, 8,192 outlets. From the default
    /// first one they end well before 51820, which wg-quick takes for its table.
    pub const TABLES: u32 = 0x4000;
    /// How many rule priorities we claim, at each of the two places.
    pub const PRIORITIES: u32 = 100;
    /// How many nexthop ids we claim.
    pub const NEXTHOPS: u32 = 0x100000;
    /// The highest slot that tables and nexthop ids have room for.
    const SLOTS: u32 = 0x1000;
    /// Metric of the default that serves when nothing better is left in a group's table.
    pub const METRIC_LAST: u32 = 0xff00_0000;
    /// The file that tells `ip` our tables' names.
    pub const TABLE_NAMES_FILE: &'static str = "uplinkd.conf";

    /// The table with the default of an uplink in service. `ip` knows it by the uplink's name.
    pub fn table_service(&self, slot: Slot) -> TableId {
        TableId(self.tables + u32::from(slot.0))
    }

    /// The table that leads out by an uplink whatever its health: probes and inbound connections.
    pub fn table_path(&self, slot: Slot) -> TableId {
        TableId(self.tables + Self::SLOTS + u32::from(slot.0))
    }

    /// The table of an outlet, by its code.
    pub fn table_outlet(&self, code: u16) -> TableId {
        // Codes end at `outlet_max`; the remainder only keeps a wrong one inside our range.
        TableId(self.tables + 2 * Self::SLOTS + u32::from(code) % (Self::TABLES - 2 * Self::SLOTS))
    }

    /// The nexthop that carries an uplink's share of new connections; gone while it is out of service.
    pub fn nexthop_service(&self, family: Family, slot: Slot) -> NexthopId {
        NexthopId(self.nexthop_ids + Self::family_offset(family) + u32::from(slot.0))
    }

    /// The nexthop that always leads out by the uplink.
    pub fn nexthop_path(&self, family: Family, slot: Slot) -> NexthopId {
        NexthopId(self.nexthop_ids + Self::family_offset(family) + Self::SLOTS + u32::from(slot.0))
    }

    /// A nexthop group, by its index among the distinct tiers of the configuration.
    pub fn nexthop_group(&self, family: Family, index: usize) -> NexthopId {
        let index = u32::try_from(index).unwrap_or(u32::MAX / 2);
        NexthopId(self.nexthop_ids + Self::family_offset(family) + 2 * Self::SLOTS + index)
    }

    /// The nexthop group over the paths of all usable uplinks: what serves when nothing is left.
    pub fn nexthop_last_resort(&self, family: Family) -> NexthopId {
        NexthopId(self.nexthop_ids + Self::family_offset(family))
    }

    /// The nexthop group of an uplink that somebody prefers for a while. Each has its own: were one object
    /// led to another uplink, outlets that have only the first would for a moment lead out by the second.
    pub fn nexthop_preferred(&self, family: Family, slot: Slot) -> NexthopId {
        let last = Self::NEXTHOPS / 2 - Self::SLOTS + u32::from(slot.0);
        NexthopId(self.nexthop_ids + Self::family_offset(family) + last)
    }

    fn family_offset(family: Family) -> u32 {
        match family {
            Family::V4 => 0,
            Family::V6 => Self::NEXTHOPS / 2,
        }
    }

    /// How many bits number the uplinks where the file does not say: 3 of 8 (7 uplinks, 15 outlets),
    /// 7 of 16 (127 and 255), at least 2.
    pub fn uplink_bits_by_default(mark_mask: u32) -> u32 {
        (mark_mask.count_ones().saturating_sub(1) / 2).max(2)
    }

    /// Which bits of the mark are for what.
    pub fn marks(&self) -> MarkFields {
        let low = self.mark_mask.trailing_zeros();
        let uplink = ((1_u32 << self.mark_uplink_bits) - 1) << low;
        let inbound = 1 << (low + self.mark_uplink_bits);
        MarkFields {
            uplink,
            inbound,
            outlet: self.mark_mask & !(uplink | inbound),
        }
    }

    /// The mark of connections that left by an uplink, whatever led them there.
    pub fn mark_out(&self, slot: Slot) -> Mark {
        let marks = self.marks();
        Mark::new(
            u32::from(slot.0) << marks.uplink.trailing_zeros(),
            marks.uplink | marks.inbound,
        )
    }

    /// The mark of connections that came in by an uplink.
    pub fn mark_in(&self, slot: Slot) -> Mark {
        let out = self.mark_out(slot);
        Mark::new(out.value | self.marks().inbound, out.mask)
    }

    /// The mark of connections that came in, by whichever uplink.
    pub fn mark_in_any(&self) -> Mark {
        let inbound = self.marks().inbound;
        Mark::new(inbound, inbound)
    }

    /// The mark of all connections of an uplink, whichever way they began.
    pub fn mark_all(&self, slot: Slot) -> Mark {
        Mark::new(self.mark_out(slot).value, self.marks().uplink)
    }

    /// The mark of packets that policies lead to an outlet, by code.
    pub fn mark_outlet(&self, code: u16) -> Mark {
        let outlet = self.marks().outlet;
        Mark::new(
            u32::from(code)
                .checked_shl(outlet.trailing_zeros())
                .unwrap_or(0),
            outlet,
        )
    }

    /// The mark of connections that an outlet led out by an uplink.
    pub fn mark_outlet_by(&self, code: u16, slot: Slot) -> Mark {
        let value = self.mark_outlet(code).value | self.mark_out(slot).value;
        Mark::new(value, self.marks().all())
    }

    /// The highest slot that the mark has room for: 7 with the default mask.
    pub fn slot_max(&self) -> u16 {
        let by_mark = (1_u32 << self.mark_uplink_bits) - 1;
        u16::try_from(by_mark.min(Self::SLOTS - 1)).unwrap_or(u16::MAX)
    }

    /// The highest code of an outlet that the mark and our tables have room for: 15 with the default
    /// mask.
    pub fn outlet_max(&self) -> u16 {
        let by_mark = (1_u32 << self.marks().outlet.count_ones()) - 1;
        let by_tables = Self::TABLES - 2 * Self::SLOTS - 1;
        u16::try_from(by_mark.min(by_tables)).unwrap_or(u16::MAX)
    }

    /// Whether a mark mask is usable: one run of at least four bits.
    pub fn mark_mask_is_usable(mask: u32) -> bool {
        mask.count_ones() >= 4 && {
            let run = mask >> mask.trailing_zeros();
            run == u32::MAX || (run + 1).is_power_of_two()
        }
    }

    /// Whether a priority lies in one of our two ranges.
    pub fn has_priority(&self, priority: RulePriority) -> bool {
        [self.rule_priority, self.rule_priority_last]
            .iter()
            .any(|first| (*first..first + Self::PRIORITIES).contains(&priority.0))
    }

    /// Whether a table lies in our range.
    pub fn has_table(&self, table: TableId) -> bool {
        (self.tables..self.tables + Self::TABLES).contains(&table.0)
    }

    /// Whether a nexthop id lies in our range.
    pub fn has_nexthop(&self, id: NexthopId) -> bool {
        (self.nexthop_ids..self.nexthop_ids + Self::NEXTHOPS).contains(&id.0)
    }

    /// Whether a rule is ours.
    pub fn owns_rule(&self, rule: &Rule) -> bool {
        rule.proto == self.proto && self.has_priority(rule.priority)
    }

    /// Whether a route is ours.
    pub fn owns_route(&self, route: &Route) -> bool {
        route.proto == self.proto && self.has_table(route.table)
    }

    /// Whether a nexthop is ours.
    pub fn owns_nexthop(&self, nexthop: &Nexthop) -> bool {
        nexthop.proto == self.proto && self.has_nexthop(nexthop.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_inside_the_mask_and_apart_from_each_other() {
        for mask in [0xff00_0000, 0x0000_00f0, 0x00ff_f000, 0xffff_ffff] {
            let reserve = Reserve {
                mark_mask: mask,
                mark_uplink_bits: Reserve::uplink_bits_by_default(mask),
                ..Reserve::default()
            };
            let MarkFields {
                uplink,
                inbound,
                outlet,
            } = reserve.marks();
            assert_eq!(uplink | inbound | outlet, mask);
            assert_eq!(uplink & inbound | uplink & outlet | inbound & outlet, 0);
            let mut seen = std::collections::BTreeSet::new();
            for slot in (1..=reserve.slot_max().min(300)).map(Slot) {
                for mark in [reserve.mark_out(slot), reserve.mark_in(slot)] {
                    assert_eq!(mark.value & !mask, 0);
                    assert_eq!(mark.mask & !mask, 0);
                    assert_ne!(mark.value, 0);
                    assert!(seen.insert(mark.value), "{mark} twice under {mask:#x}");
                    assert!(reserve.mark_all(slot).matches(mark.value));
                }
            }
        }
        assert_eq!(Reserve::default().slot_max(), 7);
        assert_eq!(Reserve::default().outlet_max(), 15);
    }

    #[test]
    fn only_one_run_of_bits_is_a_usable_mask() {
        for good in [0xff00_0000, 0xf, 0xffff_ffff, 0x0000_0ff0] {
            assert!(Reserve::mark_mask_is_usable(good), "{good:#x}");
        }
        for bad in [0, 0x7, 0xff00_00ff, 0x5500_0000, 0xe000_0000] {
            assert!(!Reserve::mark_mask_is_usable(bad), "{bad:#x}");
        }
    }

    #[test]
    fn ranges_of_tables_and_nexthops_do_not_meet() {
        let reserve = Reserve::default();
        assert!(reserve.table_service(Slot(4095)) < reserve.table_path(Slot(0)));
        assert!(reserve.table_path(Slot(4095)) < reserve.table_outlet(0));
        assert!(reserve.has_table(reserve.table_outlet(50_000)));
        assert!(
            reserve.nexthop_group(Family::V4, 100_000) < reserve.nexthop_last_resort(Family::V6)
        );
        assert!(!reserve.has_priority(RulePriority(1999)));
        assert!(reserve.has_priority(RulePriority(2000)));
        assert!(!reserve.has_priority(RulePriority(2100)));
    }
}
