//! The result, for people and for scripts. Times are seconds, moments seconds since the epoch.

use std::time::Duration;

use serde::{Serialize, Serializer};
use uplinkd_model::{Family, Health};

use super::{
    survey::Survey,
    verdict::{Judged, Verdict},
};

/// All replays of a history beside each other.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    #[serde(serialize_with = "seconds")]
    pub(crate) from: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) to: Duration,
    /// Without the times in which nothing was recorded.
    #[serde(serialize_with = "seconds")]
    pub(crate) length: Duration,
    pub(crate) samples: u64,
    pub(crate) lost: u64,
    /// The lines of the history, and how they were in hindsight.
    pub(crate) lines: Vec<SurveyedLine>,
    /// What the recording says that happened.
    pub(crate) recorded: Vec<Happened>,
    pub(crate) replays: Vec<Replayed>,
    /// What to know about the result.
    pub(crate) notes: Vec<String>,
}

/// A line of the history.
#[derive(Debug, Serialize)]
pub(crate) struct SurveyedLine {
    pub(crate) uplink: String,
    pub(crate) family: Family,
    pub(crate) samples: u64,
    pub(crate) lost: u64,
    pub(crate) deaths: usize,
    /// Of all deaths.
    #[serde(serialize_with = "seconds")]
    pub(crate) dead: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) longest: Duration,
}

/// What a recording says.
#[derive(Debug, Serialize)]
pub(crate) struct Happened {
    #[serde(serialize_with = "seconds")]
    pub(crate) time: Duration,
    pub(crate) uplink: String,
    pub(crate) family: Family,
    /// The state and its reason.
    pub(crate) text: String,
}

/// What one file would have made of it.
#[derive(Debug, Serialize)]
pub(crate) struct Replayed {
    pub(crate) config: String,
    pub(crate) lines: Vec<LineReport>,
    pub(crate) switches: Vec<Switch>,
    /// Switches that are too many to be listed.
    pub(crate) more_switches: u64,
}

/// What one file would have made of one line.
#[derive(Debug, Serialize)]
pub(crate) struct LineReport {
    pub(crate) uplink: String,
    pub(crate) family: Family,
    pub(crate) seconds: States,
    /// How often it left service because of its health.
    pub(crate) failovers: usize,
    /// Of these, where it worked in hindsight.
    pub(crate) needless: usize,
    /// Deaths of five seconds and more in which it served from beginning to end though another line of
    /// the family worked.
    pub(crate) missed: usize,
    /// Time in service while it was dead though another line worked.
    #[serde(serialize_with = "seconds")]
    pub(crate) outage: Duration,
    /// The longest of these.
    #[serde(serialize_with = "seconds")]
    pub(crate) outage_longest: Duration,
    pub(crate) changes: Vec<Change>,
}

/// Time in each state.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct States {
    #[serde(serialize_with = "seconds")]
    pub(crate) unknown: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) up: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) degraded: Duration,
    #[serde(serialize_with = "seconds")]
    pub(crate) down: Duration,
}

/// A line's state changed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Change {
    #[serde(serialize_with = "seconds")]
    pub(crate) time: Duration,
    pub(crate) from: Health,
    pub(crate) to: Health,
    pub(crate) reason: String,
}

/// A group is served by others.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Switch {
    #[serde(serialize_with = "seconds")]
    pub(crate) time: Duration,
    pub(crate) group: String,
    pub(crate) family: Family,
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
    pub(crate) reason: String,
    /// Who left because of its health.
    pub(crate) left: Vec<String>,
    /// Whether that was right, of each of them.
    pub(crate) judged: Vec<Judged>,
}

/// Puts everything together.
pub(crate) fn comparison(
    survey: &Survey,
    notes: Vec<String>,
    replays: Vec<Replayed>,
) -> Comparison {
    let paused = survey.pauses.iter().map(|(a, b)| b.saturating_sub(*a));
    let length = survey.to.saturating_sub(survey.from);
    let lines = survey.lines.iter().filter(|(_, l)| l.samples > 0);
    let mut recorded: Vec<_> = survey
        .lines
        .iter()
        .flat_map(|((uplink, family), line)| {
            line.told.iter().map(|(time, text)| Happened {
                time: *time,
                uplink: uplink.clone(),
                family: *family,
                text: text.clone(),
            })
        })
        .collect();
    recorded.sort_by_key(|h| h.time);
    Comparison {
        from: survey.from,
        to: survey.to,
        length: length.saturating_sub(paused.sum()),
        samples: survey.samples,
        lost: survey.lost,
        lines: lines
            .map(|((uplink, family), line)| SurveyedLine {
                uplink: uplink.clone(),
                family: *family,
                samples: line.samples,
                lost: line.lost,
                deaths: line.spells.len(),
                dead: line.spells.iter().map(|s| s.length()).sum(),
                longest: line
                    .spells
                    .iter()
                    .map(|s| s.length())
                    .max()
                    .unwrap_or_default(),
            })
            .collect(),
        recorded,
        replays,
        notes,
    }
}

impl Comparison {
    /// Whether the file under trial, the last one, did nothing wrong.
    pub(crate) fn is_good(&self) -> bool {
        let tried = self.replays.last();
        tried.is_none_or(|r| r.lines.iter().all(|l| l.needless == 0 && l.missed == 0))
    }
}

impl Switch {
    /// Whether somebody left who need not have.
    pub(crate) fn is_needless(&self) -> bool {
        self.judged.iter().any(|j| j.verdict == Verdict::Needless)
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Milliseconds are as much as a recording knows.
    serializer.serialize_f64((time.as_secs_f64() * 1000.0).round() / 1000.0)
}
