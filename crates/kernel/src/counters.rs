//! What interfaces have counted, one small message for each.

use std::collections::BTreeMap;

use uplinkd_model::Counters;

use crate::{
    Kernel,
    netlink::{Message, find},
};

/// `RTM_GETSTATS` (`linux/rtnetlink.h`).
const GET_STATS: u16 = 94;
/// `IFLA_STATS_LINK_64` (`linux/if_link.h`): the attribute, and below the bit that asks for it.
const LINK_64: u16 = 1;
const ONLY_LINK_64: u32 = 1;
/// Length of `struct if_stats_msg`: family, padding, index, filter.
const FIXED: usize = 12;

impl Kernel {
    /// What these interfaces have counted, by index. Those that are gone, or that the kernel does not
    /// tell of, are left out.
    pub fn counters(&mut self, indexes: &[u32]) -> BTreeMap<u32, Counters> {
        let one = |index: u32| {
            let mut fixed = [0; FIXED];
            fixed[4..8].copy_from_slice(&index.to_ne_bytes());
            fixed[8..].copy_from_slice(&ONLY_LINK_64.to_ne_bytes());
            let reply = self.route.ask(Message::new(GET_STATS, 0, &fixed)).ok()?;
            let stats = find(reply.body.get(FIXED..)?, LINK_64)?;
            Some((index, decode(stats)?))
        };
        indexes.iter().copied().filter_map(one).collect()
    }
}

/// The first four fields of `struct rtnl_link_stats64`.
fn decode(stats: &[u8]) -> Option<Counters> {
    let field = |n: usize| {
        let bytes = stats.get(n * 8..n * 8 + 8)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(Counters {
        rx_packets: field(0)?,
        tx_packets: field(1)?,
        rx_bytes: field(2)?,
        tx_bytes: field(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_fields_are_taken_and_a_short_answer_is_none() {
        let fields: Vec<u8> = (1..=6_u64).flat_map(u64::to_ne_bytes).collect();
        let counters = Counters {
            rx_packets: 1,
            tx_packets: 2,
            rx_bytes: 3,
            tx_bytes: 4,
        };
        assert_eq!(decode(&fields), Some(counters));
        assert_eq!(decode(&fields[..31]), None);
    }
}
