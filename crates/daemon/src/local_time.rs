//! The local time, which schedules are written in: `TZ`, else `/etc/localtime`, summer time included.
//!
//! A change of the time zone is noticed within some minutes, a change of the clock at once.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
};

use jiff::{Timestamp, Zoned, civil::Weekday, tz::TimeZone};
use nix::sys::{
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use tokio::io::{Interest, unix::AsyncFd};
use uplinkd_model::budget::Day;

/// Says when a local minute begins, and when somebody has set the clock.
#[derive(Debug)]
pub(crate) struct LocalTime {
    timer: AsyncFd<Timer>,
}

impl LocalTime {
    /// A timer that is not set yet. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the process may not have another open file.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Timer(TimerFd::new(ClockId::CLOCK_REALTIME, flags)?);
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that do not own the descriptor they name; a TimerFd does"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// The minute of the week now. Sets the timer for the beginning of the next.
    ///
    /// # Errors
    /// When the kernel does not take the timer.
    pub(crate) fn minute(&mut self) -> io::Result<u16> {
        let now = Timestamp::now().to_zoned(TimeZone::system());
        let (minute, next) = minute_of_week(&now);
        // Set as a moment of the wall clock, so that it is right after a sleep of the machine; the
        // kernel ends it early where somebody sets that clock.
        self.timer.get_ref().0.set(
            Expiration::OneShot(TimeSpec::new(next.as_second(), 0)),
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET,
        )?;
        Ok(minute)
    }

    /// Waits for the next minute, or for the clock to be set. For ever before [`Self::minute`].
    pub(crate) async fn changed(&mut self) {
        // An error means that the runtime is shutting down.
        if let Ok(mut ready) = self.timer.readable().await {
            let _ = ready.get_inner().0.wait();
            ready.clear_ready();
        }
    }
}

/// The minute of the week, from Monday 00:00, and when the next one begins.
fn minute_of_week(now: &Zoned) -> (u16, Timestamp) {
    let day = now.weekday().to_monday_zero_offset().unsigned_abs();
    let of_day = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
    // Counted in seconds of the local time, since zones of the past had odd ones.
    let left = 60 - i64::from(now.second());
    let next = Timestamp::from_second(now.timestamp().as_second() + left);
    (
        u16::from(day) * 24 * 60 + of_day,
        // Only after the year 9999 there is none.
        next.unwrap_or(Timestamp::MAX),
    )
}

/// The minute of the week now, for commands that look once.
pub(crate) fn minute_now() -> u16 {
    minute_of_week(&Timestamp::now().to_zoned(TimeZone::system())).0
}

/// Today, by the local calendar.
pub(crate) fn today() -> Day {
    let date = Timestamp::now().to_zoned(TimeZone::system()).date();
    let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
    Day::of(i32::from(date.year()), month, day)
}

/// A minute of the week as people say it: `Mon 08:30`.
pub(crate) fn in_words(minute: u16) -> String {
    let day = i8::try_from(minute / (24 * 60) % 7).unwrap_or(0);
    let day = Weekday::from_monday_zero_offset(day).unwrap_or(Weekday::Monday);
    let name: String = format!("{day:?}").chars().take(3).collect();
    format!("{name} {:02}:{:02}", minute / 60 % 24, minute % 60)
}

/// A timer with the trait that tokio asks for.
#[derive(Debug)]
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, zone: &str) -> (u16, i64) {
        let zone = TimeZone::posix(zone).unwrap();
        let now = text.parse::<Timestamp>().unwrap().to_zoned(zone);
        let (minute, next) = minute_of_week(&now);
        (minute, next.as_second() - now.timestamp().as_second())
    }

    #[test]
    fn weeks_begin_on_monday_by_local_time() {
        assert_eq!(at("2026-11-23T00:00:00Z", "UTC0"), (0, 60));
        assert_eq!(at("2026-11-22T23:59:59Z", "UTC0"), (7 * 24 * 60 - 1, 1));
        assert_eq!(at("2026-11-22T23:30:10Z", "CET-1"), (30, 50));
        assert_eq!(
            at("2026-11-23T04:59:30.9Z", "EST5"),
            (6 * 24 * 60 + 23 * 60 + 59, 30)
        );
    }

    #[test]
    fn summer_time_moves_the_local_minute_and_not_the_timer() {
        let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
        let sunday = 6 * 24 * 60;
        // The hour from 2 to 3 does not exist in March, and comes twice in October.
        assert_eq!(at("2026-03-29T00:59:30Z", berlin), (sunday + 119, 30));
        assert_eq!(at("2026-03-29T01:00:00Z", berlin), (sunday + 180, 60));
        assert_eq!(at("2026-10-25T00:59:00Z", berlin), (sunday + 179, 60));
        assert_eq!(at("2026-10-25T01:00:00Z", berlin), (sunday + 120, 60));
    }

    #[test]
    fn a_minute_of_the_week_has_a_name() {
        assert_eq!(in_words(0), "Mon 00:00");
        assert_eq!(in_words(7 * 24 * 60 - 1), "Sun 23:59");
    }

    #[tokio::test]
    async fn the_timer_rings_at_the_next_minute_only() {
        let mut time = LocalTime::open().unwrap();
        let minute = time.minute().unwrap();
        assert!(minute < uplinkd_model::policy::MINUTES_PER_WEEK);
        let left = time.timer.get_ref().0.get().unwrap();
        assert!(left.is_some(), "not set");
    }
}
