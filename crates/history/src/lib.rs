//! What the daemon remembers of its lines: seconds for a day, minutes for a month, hours for two years,
//! in one file of bounded size.
//!
//! `sketch`, `tally`, `codec`, `tier` and `outages` are pure. `store` is the file, `writer` the one thread that
//! writes to it, `query` and `report` read it beside. Nothing here decides anything, and nobody waits for
//! it: the queue to that thread drops what it cannot take in time.
//!
//! What is unknown stays so: time without a daemon counts neither as up nor as down.

#[cfg(feature = "store")]
mod codec;
mod outages;
#[cfg(feature = "store")]
mod query;
#[cfg(feature = "store")]
mod report;
mod sketch;
#[cfg(feature = "store")]
mod store;
mod tally;
#[cfg(feature = "store")]
mod tier;
#[cfg(feature = "store")]
mod writer;

pub use outages::{Availability, Interval, Outage, availability, outages};
#[cfg(feature = "store")]
pub use query::{POINTS_MAX, QueryError, Question, SeriesPoints};
#[cfg(feature = "store")]
pub use report::{LineReport, Report, TargetReport, UplinkReport};
pub use sketch::Histogram;
#[cfg(feature = "store")]
pub use store::{FILE, Store, StoreError};
pub use tally::{Answers, Bytes, LineTime, Series, Stats};
#[cfg(feature = "store")]
pub use tier::{Points, Tier, roll_up};
#[cfg(feature = "store")]
pub use writer::{Change, Event, History, Live, Message, Reader, SLOT, Sender};
