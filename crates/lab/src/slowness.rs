//! How much slower than usual this machine is.
//!
//! Time limits and rates of a laboratory are made for a machine that executes the packets' code
//! itself. In a virtual machine whose processor is emulated everything takes some ten times longer,
//! and a limit that is generous elsewhere says nothing there. One variable stretches all of them.

use std::{env, sync::OnceLock, time::Duration};

/// A whole number from 1 to 100: how many times longer everything may take. Limits are
/// multiplied by it, rates of traffic divided, and probes are sent that much less often.
pub const VARIABLE: &str = "UPLINK_LAB_SLOWNESS";

/// Beyond this the tests would outlast any patience.
const MAX: u32 = 100;

/// What the environment says; 1 where it says nothing, or nothing sensible.
pub fn slowness() -> u32 {
    static SLOWNESS: OnceLock<u32> = OnceLock::new();
    *SLOWNESS.get_or_init(|| read(env::var(VARIABLE).ok().as_deref()))
}

/// A limit or an interval as it is on this machine.
pub fn stretched(usual: Duration) -> Duration {
    usual.saturating_mul(slowness())
}

fn read(said: Option<&str>) -> u32 {
    let number = said.and_then(|s| s.trim().parse().ok());
    number.filter(|n| (1..=MAX).contains(n)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sensible_number_stretches() {
        assert_eq!(read(Some("10")), 10);
        assert_eq!(read(Some(" 3\n")), 3);
        for not_one in [
            None,
            Some(""),
            Some("0"),
            Some("-2"),
            Some("1.5"),
            Some("101"),
        ] {
            assert_eq!(read(not_one), 1, "{not_one:?}");
        }
    }
}
