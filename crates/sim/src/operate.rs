//! What people tell the daemon while all this happens: draining lines, preferring one. Drawn from a stream
//! of its own, so that histories without it stay what they were.

use std::time::Duration;

use uplinkd_core::Time;

use crate::faults::Fault;

/// What somebody orders. Numbers are indices of uplinks; times are seconds, none without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// No new connections by an uplink.
    Drain(usize, Option<u64>),
    /// The end of that.
    Undrain(usize),
    /// New connections by an uplink alone.
    Prefer(usize, u64),
    /// The end of that.
    Unprefer,
}

/// What is ordered in a history, and when; nothing in most.
pub fn draw(luck: &fastrand::Rng, uplinks: usize, until: Time) -> Vec<(Time, Fault)> {
    // Another stream, of the same seed.
    let mut luck = fastrand::Rng::with_seed(luck.get_seed() ^ 0x6f70_6572_6174_6521);
    let mut orders = Vec::new();
    if luck.u8(0..5) > 1 {
        return orders;
    }
    for _ in 0..luck.usize(1..9) {
        let at = Duration::from_millis(luck.u64(0..(until.0.as_millis() as u64).max(1)));
        let (uplink, span) = (luck.usize(0..uplinks), luck.u64(0..20));
        let deed = match luck.u8(0..8) {
            0..=2 => Deed::Drain(uplink, Some(span)),
            3 => Deed::Drain(uplink, None),
            4 => Deed::Undrain(uplink),
            5 | 6 => Deed::Prefer(uplink, span),
            _ => Deed::Unprefer,
        };
        orders.push((Time(at), Fault::Operate(deed)));
    }
    orders
}
