//! Questions about history, answered beside the loop.

use std::sync::Arc;

use jiff::{ToSpan as _, civil::Date, tz::TimeZone};
use tokio::sync::Semaphore;
use uplinkd_api::{
    ApiError, BudgetStatus, Event, HealthTime, History, HistoryPoint, HistoryQuery, HistorySeries,
    Level, Quality, Report, ReportLine, ReportOutage, ReportQuery, ReportTarget, ReportUplink,
    Traffic,
};
use uplinkd_history::{Answers, Bytes, LineTime, QueryError, Question, Reader, Stats};
use uplinkd_model::Health;
use uplinkd_web::{Answer, Refused};

use super::{Memory, unix_millis};

/// Questions that may wait for one another; a further one is refused.
const WAITING_MAX: usize = 8;
/// Lengths of slots, in seconds, one of which is taken where none is asked for.
const STEPS: [i64; 9] = [10, 30, 60, 300, 900, 3600, 10_800, 21_600, 86_400];
/// So many slots an answer has then at most.
const SLOTS: i64 = 300;
/// Switches that a report lists.
const SWITCHES: usize = 200;

/// Where questions wait. One at a time reads the file: a flood of them must not take the processor.
#[derive(Debug)]
pub(super) struct Desk {
    one: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Self {
            one: Arc::new(Semaphore::new(1)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }
}

impl Memory {
    /// Answers with tallies.
    pub(crate) fn query(&self, query: HistoryQuery, reply: Answer<History>) {
        self.read(reply, move |reader| history(&query, reader));
    }

    /// Answers with the report of a month. What is used of budgets now is given.
    pub(crate) fn report(
        &self,
        query: ReportQuery,
        budgets: Vec<(String, BudgetStatus)>,
        reply: Answer<Report>,
    ) {
        self.read(reply, move |reader| report(&query, budgets, reader));
    }

    /// Why no history is written, where it should be; and none at all where it is not to be.
    pub(crate) fn reader(&self) -> Option<Reader> {
        self.on
            .as_ref()
            .map(|running| running.history.reader().clone())
    }

    fn read<T: Send + 'static>(
        &self,
        reply: Answer<T>,
        answer: impl FnOnce(&Reader) -> Result<T, Refused> + Send + 'static,
    ) {
        let Some(reader) = self.reader() else {
            let error = ApiError::new("no history is kept")
                .with_hint("the file says `enabled = false` under [history]");
            let _ = reply.send(Err(Refused::NotFound(error)));
            return;
        };
        let Ok(place) = Arc::clone(&self.desk.waiting).try_acquire_owned() else {
            let error = ApiError::new("too many questions about history at once");
            let _ = reply.send(Err(Refused::Conflict(error.with_hint("ask again later"))));
            return;
        };
        let one = Arc::clone(&self.desk.one);
        tokio::spawn(async move {
            // Closed by nobody.
            let turn = one.acquire_owned().await;
            tokio::task::spawn_blocking(move || {
                // Whoever asked may be gone by now.
                if !reply.is_closed() {
                    let _ = reply.send(answer(&reader));
                }
                drop((turn, place));
            });
        });
    }
}

fn refused(error: QueryError) -> Refused {
    let said = ApiError::new(error.to_string());
    Refused::Bad(match error {
        QueryError::TooMuch { .. } => said.with_hint("ask for one uplink, or a longer `step`"),
        QueryError::Senseless(_) => said,
        QueryError::Unreadable(_) => said.with_hint("the daemon's log may say more"),
    })
}

fn history(query: &HistoryQuery, reader: &Reader) -> Result<History, Refused> {
    // The slot that is being counted comes when it is over.
    let until = query.until.unwrap_or(unix_millis().div_euclid(1000) + 1);
    let since = query.since.unwrap_or(until.saturating_sub(86_400));
    let wanted = until.saturating_sub(since) / SLOTS;
    let fitting = STEPS.into_iter().find(|step| *step >= wanted);
    let step = query.step.or(fitting).unwrap_or(86_400);
    let question = Question {
        uplink: query.uplink.clone(),
        since,
        until,
        step,
    };
    let found = reader.query(&question).map_err(refused)?;
    let series = found.into_iter().map(|found| HistorySeries {
        uplink: found.series.uplink.to_string(),
        family: found.series.family,
        target: found.series.target,
        points: found
            .points
            .iter()
            .map(|(time, stats)| point(*time, stats))
            .collect(),
    });
    Ok(History {
        since,
        until,
        step,
        series: series.collect(),
        trouble: reader.trouble(),
    })
}

fn point(time: i64, stats: &Stats) -> HistoryPoint {
    let mut point = HistoryPoint {
        time,
        ..HistoryPoint::default()
    };
    match stats {
        Stats::Answers(answers) => point.quality = Some(quality(answers)),
        Stats::Time(time) => point.health = Some(health(time)),
        Stats::Bytes(bytes) => point.traffic = Some(traffic(*bytes)),
    }
    point
}

fn quality(answers: &Answers) -> Quality {
    let ms = |micros: f64| micros / 1000.0;
    let percentile = |part| {
        answers.spread.percentile(part).map(|micros| {
            // The middle of a bucket may lie beyond the longest that was seen.
            ms(micros.clamp(answers.min, answers.max) as f64)
        })
    };
    let is_answered = answers.answered_count() > 0;
    let of = |micros: u64| is_answered.then_some(ms(micros as f64));
    Quality {
        sent: answers.asked,
        lost: answers.lost,
        loss: answers.loss(),
        rtt_mean_ms: answers.mean().map(ms),
        rtt_min_ms: of(answers.min),
        rtt_max_ms: of(answers.max),
        rtt_p50_ms: percentile(0.5),
        rtt_p95_ms: percentile(0.95),
        rtt_p99_ms: percentile(0.99),
        jitter_ms: answers.mean_jitter().map(ms),
    }
}

fn health(time: &LineTime) -> HealthTime {
    let seconds = |health| time.of(health) as f64 / 1000.0;
    HealthTime {
        up_s: seconds(Health::Up),
        degraded_s: seconds(Health::Degraded),
        down_s: seconds(Health::Down),
        unknown_s: seconds(Health::Unknown),
    }
}

fn traffic(bytes: Bytes) -> Traffic {
    Traffic {
        rx_bytes: bytes.rx,
        tx_bytes: bytes.tx,
    }
}

fn report(
    query: &ReportQuery,
    mut budgets: Vec<(String, BudgetStatus)>,
    reader: &Reader,
) -> Result<Report, Refused> {
    let now = unix_millis();
    let (month, since, until) = window(query.month.as_deref(), now)?;
    if until <= now {
        // What is used now says nothing about a month that is over.
        budgets.clear();
    }
    let window = (since, until.min(now));
    if window.1 <= window.0 {
        return Err(Refused::Bad(ApiError::new(format!(
            "{month} has not begun"
        ))));
    }
    let found = reader.report(window).map_err(refused)?;
    let (mut switches, _) = reader.events(window).map_err(refused)?;
    switches.retain(|e| e.kind == "selection");
    let switches_count = switches.len();
    let newest = switches.split_off(switches_count.saturating_sub(SWITCHES));
    let uplinks = found.uplinks.into_iter().map(|found| {
        let uplink = found.uplink.to_string();
        let own = budgets.iter().position(|(name, _)| *name == uplink);
        ReportUplink {
            traffic: traffic(found.bytes),
            budget: own.map(|at| budgets.swap_remove(at).1),
            lines: found.lines.into_iter().map(|l| line(l, window)).collect(),
            uplink,
        }
    });
    Ok(Report {
        month,
        since: seconds(window.0),
        until: seconds(window.1),
        uplinks: uplinks.collect(),
        switches: newest.into_iter().map(event).collect(),
        switches_count,
        trouble: reader.trouble(),
    })
}

fn line(found: uplinkd_history::LineReport, window: (i64, i64)) -> ReportLine {
    let time = found.availability.time;
    let seen: u64 = time.millis.iter().sum();
    let whole = (window.1 - window.0).unsigned_abs();
    let outage = |o: &uplinkd_history::Outage| ReportOutage {
        since: seconds(o.since),
        seconds: seconds(o.length),
        reason: o.reason.clone(),
        lasts: o.is_open,
    };
    let target = |t: &uplinkd_history::TargetReport| ReportTarget {
        target: t.target.clone(),
        quality: quality(&t.answers),
    };
    ReportLine {
        family: found.family,
        availability: found.availability.part,
        health: health(&time),
        unseen_s: whole.saturating_sub(seen) as f64 / 1000.0,
        outages_count: found.outages_count,
        outages: found.outages.iter().map(outage).collect(),
        targets: found.targets.iter().map(target).collect(),
    }
}

fn event(event: uplinkd_history::Event) -> Event {
    Event {
        id: 0,
        time: seconds(event.time),
        level: match event.warn {
            true => Level::Warn,
            false => Level::Info,
        },
        kind: event.kind,
        text: event.text,
        detail: serde_json::from_str(&event.detail).unwrap_or_default(),
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// A month by local time: its name, its beginning and its end in unix milliseconds.
fn window(month: Option<&str>, now: i64) -> Result<(String, i64, i64), Refused> {
    let zone = TimeZone::system();
    let bad = |word: &str| {
        let error = ApiError::new(format!("{word:?} is no month"));
        Refused::Bad(error.with_hint("write it as 2026-11"))
    };
    let first: Date = match month {
        Some(word) => {
            let is_short = word.len() == 7 && word.is_ascii();
            let first = is_short
                .then(|| format!("{word}-01").parse().ok())
                .flatten();
            first.ok_or_else(|| bad(word))?
        }
        None => {
            let now = jiff::Timestamp::from_millisecond(now).map_err(|_| bad("now"))?;
            now.to_zoned(zone.clone()).date().first_of_month()
        }
    };
    let begin = |date: Date| {
        let zoned = date.to_zoned(zone.clone());
        zoned.map(|z| z.timestamp().as_millisecond())
    };
    let next = first.checked_add(1.month());
    let (since, until) = match (begin(first), next.and_then(begin)) {
        (Ok(since), Ok(until)) => (since, until),
        _ => return Err(bad(month.unwrap_or_default())),
    };
    Ok((
        format!("{:04}-{:02}", first.year(), first.month()),
        since,
        until,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_follows_the_one_before_without_a_gap() {
        let mut last = None;
        for (year, month) in (2024..2028).flat_map(|y| (1..=12).map(move |m| (y, m))) {
            let word = format!("{year}-{month:02}");
            let (told, since, until) = window(Some(&word), 0).unwrap();
            assert_eq!(told, word);
            assert!(last.is_none_or(|last| last == since), "{word}");
            last = Some(until);
        }
        let (_, since, until) = window(Some("2026-11"), 0).unwrap();
        let (now, since_now, _) = window(None, (since + until) / 2).unwrap();
        assert_eq!((now.as_str(), since_now), ("2026-11", since));
        for bad in [
            "2026-13",
            "2026-1",
            "November",
            "2026-11-01",
            "",
            "99999-1",
            "2026-1é",
        ] {
            assert!(window(Some(bad), 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_percentile_is_never_beyond_what_was_seen() {
        let mut answers = Answers::default();
        answers.answered(1_000_000, None);
        let told = quality(&answers);
        assert_eq!(told.rtt_p99_ms, Some(1000.0));
        answers = Answers::default();
        answers.lost();
        let told = quality(&answers);
        assert_eq!(
            (told.loss, told.rtt_max_ms, told.rtt_p50_ms),
            (Some(1.0), None, None)
        );
    }
}
