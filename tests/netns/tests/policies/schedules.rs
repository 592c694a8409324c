//! Policies that hold at some hours only, by the local time of the daemon.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use uplinkd_lab::traffic::Packet;
use uplinkd_netns_tests::{isp, within};

use crate::stage::{
    FAMILIES,
    Sender::{Client, Router},
    Stage, ensure_over, policy,
};

const DAY: u64 = 24 * 60 * 60;

/// Seconds since 1970, by UTC.
fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// A time zone in which so many seconds of the day have passed now.
struct Zone {
    east: u64,
}

impl Zone {
    fn where_it_is(second: u64) -> Result<Self> {
        Ok(Self {
            east: (second + DAY - now()? % DAY) % DAY,
        })
    }

    /// As `TZ` has it; that notation counts the other way.
    fn variable(&self) -> String {
        let (hours, rest) = (self.east / 3600, self.east % 3600);
        format!("<LAB>-{hours}:{:02}:{:02}", rest / 60, rest % 60)
    }

    /// The three letters of its weekday now.
    fn weekday(&self) -> Result<&'static str> {
        // The first day of 1970 was a Thursday.
        let day = (now()? + self.east) / DAY;
        let names = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
        Ok(names[usize::try_from(day % 7)?])
    }
}

fn ensure_holds(stage: &Stage, holds: bool, when: &str) -> Result<()> {
    let line = isp(if holds { 2 } else { 1 });
    for sender in [Client, Router] {
        let packets = FAMILIES.map(|f| Packet::udp(stage.server(f, 5), 4000));
        ensure_over(&stage.fates_of(sender, &packets)?, line, when)?;
    }
    Ok(())
}

pub(crate) fn hours_hold_by_local_time() -> Result<()> {
    let mut stage = Stage::without_daemon("")?;
    for minute in [9 * 60, 23 * 60 + 30, 30] {
        let zone = Zone::where_it_is(minute * 60)?;
        let today = zone.weekday()?;
        stage.rig.start_daemon_with(&[("TZ", &zone.variable())])?;
        stage.rig.wait_settled()?;
        let schedules = [
            ("08:00-18:00".to_owned(), minute == 540),
            ("22:00-06:00".to_owned(), minute != 540),
            (format!("{today} 00:00-24:00"), true),
            // Hours across midnight belong to the day that they begin on.
            (format!("{today} 22:00-06:00"), minute == 1410),
        ];
        for (schedule, holds) in schedules {
            stage.reload(&policy(&format!("schedule = \"{schedule}\"")))?;
            ensure_holds(
                &stage,
                holds,
                &format!("`{schedule}` at {minute} minutes of {today}"),
            )?;
            stage.reload(&policy(&format!("not = {{ schedule = \"{schedule}\" }}")))?;
            ensure_holds(
                &stage,
                !holds,
                &format!("not `{schedule}` at {minute} minutes"),
            )?;
        }
    }
    Ok(())
}

pub(crate) fn a_new_minute_changes_what_holds() -> Result<()> {
    let mut stage = Stage::without_daemon(&policy("schedule = \"07:00-10:01\""))?;
    // It is five seconds before the end of the hours.
    let zone = Zone::where_it_is(10 * 3600 + 55)?;
    let begun = Instant::now();
    stage.rig.start_daemon_with(&[("TZ", &zone.variable())])?;
    stage.rig.wait_settled()?;
    ensure_holds(&stage, true, "before the minute is over")?;
    ensure!(
        begun.elapsed() < Duration::from_secs(4),
        "this machine is too slow for this test"
    );
    within("the hours are over", Duration::from_secs(8), || {
        std::thread::sleep(Duration::from_millis(50));
        Ok(ensure_holds(&stage, false, "after the minute").is_ok())
    })?;
    let took = begun.elapsed();
    ensure!(
        (Duration::from_secs(3)..Duration::from_secs(7)).contains(&took),
        "it changed after {took:?}"
    );
    Ok(())
}
