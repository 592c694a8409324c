//! What the kernel says of a gateway's entry in its neighbour table, as a sign.
//!
//! On a router the kernel asks a gateway that it uses for its hardware address twice a minute or so, since
//! forwarded packets confirm nothing. An answer takes a moment on a line that is well. Where none
//! comes the kernel gives up only after three seconds, which is long after this has become a sign.

use std::time::Duration;

use uplinkd_model::NeighbourState;

use crate::Time;

/// How long an answer may take before its absence is a sign: longer than any link that has hardware
/// addresses takes, Wi-Fi and cable modems among them.
const PATIENCE: Duration = Duration::from_millis(250);

/// A gateway, as its link sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Neighbour {
    /// It was asked and has not answered; when that becomes a sign.
    sign_at: Option<Time>,
}

impl Neighbour {
    /// The kernel tells. Says whether something is wrong for certain.
    pub(crate) fn take(&mut self, state: NeighbourState, now: Time) -> bool {
        match state {
            NeighbourState::Reachable | NeighbourState::Failed => self.sign_at = None,
            NeighbourState::Asked => {
                self.sign_at.get_or_insert(now + PATIENCE);
            }
        }
        state == NeighbourState::Failed
    }

    /// Whether it has been silent for too long; said once.
    pub(crate) fn is_silent(&mut self, now: Time) -> bool {
        self.sign_at.take_if(|at| *at <= now).is_some()
    }

    /// When [`Self::is_silent`] is worth asking.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.sign_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NeighbourState::{Asked, Failed, Reachable};

    fn at(ms: u64) -> Time {
        Time(Duration::from_millis(ms))
    }

    #[test]
    fn who_answers_the_kernel_is_no_sign() {
        let mut gateway = Neighbour::default();
        for begin in (0..300_000).step_by(30_000) {
            assert!(!gateway.take(Asked, at(begin)));
            assert!(!gateway.is_silent(at(begin + 249)));
            assert!(!gateway.take(Reachable, at(begin + 249)));
            assert!(!gateway.is_silent(at(begin + 20_000)));
            assert_eq!(gateway.deadline(), None);
        }
    }

    #[test]
    fn who_does_not_is_one_once() {
        let mut gateway = Neighbour::default();
        gateway.take(Asked, at(1000));
        gateway.take(Asked, at(1200));
        assert_eq!(
            gateway.deadline(),
            Some(at(1250)),
            "since the first question"
        );
        assert!(gateway.is_silent(at(1250)));
        assert!(!gateway.is_silent(at(1251)));
        assert!(gateway.take(Failed, at(4000)));
        assert_eq!(gateway.deadline(), None);
    }
}
