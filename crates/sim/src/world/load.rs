//! What the interfaces count: steady traffic in both directions on lines that work, packets that leave
//! and none that come in on others, and nothing once all is quiet.

use std::{collections::BTreeMap, time::Duration};

use uplinkd_core::{Event, Time};
use uplinkd_model::Counters;

use super::{Happening, World};

/// The bytes of a packet.
const PACKET: u64 = 1_000;

/// What interfaces have counted.
#[derive(Debug, Default)]
pub(super) struct Load {
    at: Time,
    counted: BTreeMap<String, Counters>,
}

impl World {
    /// Reads the counters, as the daemon asked.
    pub(super) fn count(&mut self) {
        let wait = Duration::from_micros(self.luck.u64(20..2_000));
        self.note_in(wait, Happening::Counted(self.shell.incarnation));
    }

    /// The answer arrives.
    pub(super) fn counted(&mut self) -> Result<(), String> {
        self.let_traffic_pass();
        let links = self.load.counted.iter();
        let counters =
            links.filter_map(|(name, c)| Some((self.kernel.link(name)?.device.index, *c)));
        self.feed(Event::Counted(counters.collect()))
    }

    fn let_traffic_pass(&mut self) {
        let now = self.now();
        let span = now.since(self.load.at);
        self.load.at = now;
        for (index, line) in self.net.lines.iter().enumerate() {
            if self.kernel.link(&line.interface).is_none() {
                // Another one of that name begins to count again.
                self.load.counted.remove(&line.interface);
                continue;
            }
            // Of both families one counts for the interface.
            let mut same = self.net.lines.iter();
            let first = same.position(|l| l.interface == line.interface);
            if first != Some(index) {
                continue;
            }
            let counted = self.load.counted.entry(line.interface.clone()).or_default();
            let packets = self.scenario.packets[line.uplink];
            if self.is_quiet || packets == 0 {
                continue;
            }
            let grown = packets * u64::try_from(span.as_millis()).unwrap_or(0) / 1000;
            counted.tx_packets += grown;
            counted.tx_bytes += grown * PACKET;
            let of_interface = |l: &usize| {
                let other = &self.net.lines[*l];
                other.interface == line.interface && other.provided
            };
            let mut lines = (0..self.net.lines.len()).filter(of_interface);
            if lines.all(|l| self.net.is_perfect(&self.kernel, l)) {
                counted.rx_packets += grown;
                counted.rx_bytes += grown * PACKET;
            }
        }
    }
}
