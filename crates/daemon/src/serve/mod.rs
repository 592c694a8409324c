//! The core's picture in the words of the API.

mod budget;
mod burst;
mod connection;
mod explain;
mod failback;
mod metrics;
mod notify;
mod operate;
mod policies;
mod status;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uplinkd_core::Time;

pub(crate) use budget::set_used;
pub(crate) use burst::Burst;
pub(crate) use connection::explain_connection;
pub(crate) use explain::explain;
pub(crate) use failback::failback;
pub(crate) use metrics::Picture;
pub(crate) use notify::{notify_status, notify_testable, notify_tested};
pub(crate) use operate::{no_such_uplink, order, ordered};
pub(crate) use policies::{policies, policy_connections, with_connections};
pub(crate) use status::{budget_status, status};

/// The wall clock, in unix seconds.
pub(crate) fn unix_now() -> f64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    unix.unwrap_or_default().as_secs_f64()
}

/// The two clocks read at one moment, to tell people when something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: std::time::Instant,
    started_unix: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: std::time::Instant::now(),
            started_unix: unix_now(),
        }
    }

    /// The core's time.
    pub(crate) fn now(&self) -> Time {
        Time(self.started.elapsed())
    }

    /// A moment of the core's as unix seconds.
    pub(crate) fn unix(&self, time: Time) -> f64 {
        self.started_unix + time.0.as_secs_f64()
    }

    /// How long until a moment.
    pub(crate) fn until(&self, time: Time) -> Duration {
        time.since(self.now())
    }
}
