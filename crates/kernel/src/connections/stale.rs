//! Connections of an address that is gone, taken out of tracking.

use std::net::IpAddr;

use uplinkd_model::{Family, Mark, Outcome};

use super::{marked, tuple};
use crate::{Kernel, errno::refused, netlink::Frame};

impl Kernel {
    /// Takes the connections with a mark out of tracking that talk from an address, translated or not,
    /// or to it.
    ///
    /// What it masqueraded the kernel has released by itself when the address went; not so what the
    /// router itself began, what came in, and what was translated to a fixed address.
    ///
    /// They are listed by mark and removed one by one. The kernel could pick them out by address as
    /// well (`CTA_FILTER`), but up to 6.18 at least it compares IPv6 addresses the wrong way round
    /// (`ctnetlink_filter_match_tuple`): all others would go.
    pub(crate) fn flush_address(&mut self, mark: Mark, address: IpAddr) -> Outcome {
        let mut stale = Vec::new();
        let ask = marked(Family::of(address), mark);
        let listed = self.netfilter.dump_matching(ask, |frame: &Frame<'_>| {
            let connection = tuple::connection(frame.body);
            let connection = connection
                .filter(|c| [c.original.destination, c.reply.destination].contains(&address));
            stale.extend(connection.map(|c| c.original));
            false
        });
        match listed {
            Ok(_) if stale.is_empty() => Outcome::AlreadySo,
            Ok(_) => self.delete_each(&stale),
            Err(error) => refused(&error),
        }
    }
}
