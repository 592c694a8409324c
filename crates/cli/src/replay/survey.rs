//! A first look over the whole trace: who was asked when, and when each line was dead, in hindsight.

use std::{collections::BTreeMap, time::Duration};

use uplinkd_model::Family;

use super::{
    hindsight::{Hindsight, Spell},
    trace::{Line, Seen, Trace, TraceError},
};

/// A line of a router: uplink and family.
pub(crate) type LineId = (String, Family);

/// Targets of all lines at most; a trace with more is none of this kind.
const SERIES_MAX: usize = 20_000;
/// Spells, pauses and events that are kept at most of each kind; more are counted only.
pub(crate) const KEPT_MAX: usize = 20_000;
/// Without a line for so long, and for ten times what is usual, nobody recorded.
const PAUSE_LEAST: Duration = Duration::from_secs(60);
const PAUSE_TIMES: f64 = 10.0;

/// What the trace is about.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) lines: BTreeMap<LineId, Surveyed>,
    /// When the link of each uplink was gone.
    pub(crate) links: BTreeMap<String, Vec<Spell>>,
    /// Uplinks whose counters were recorded.
    pub(crate) counted: Vec<String>,
    /// When nobody recorded: from the last line before to the first one after.
    pub(crate) pauses: Vec<(Duration, Duration)>,
    pub(crate) samples: u64,
    pub(crate) lost: u64,
    /// Rows that the recorder says it dropped.
    dropped: u64,
    /// What did not fit.
    unkept: u64,
    series: usize,
    /// The usual time between two moments with lines, in seconds, and how many it was learned from.
    usual: (f64, u32),
}

/// What is known of a line.
#[derive(Debug, Default)]
pub(crate) struct Surveyed {
    /// Samples of each target.
    pub(crate) targets: BTreeMap<String, u64>,
    pub(crate) samples: u64,
    pub(crate) lost: u64,
    /// When it was dead.
    pub(crate) spells: Vec<Spell>,
    /// What the recording says that it was judged to be.
    pub(crate) told: Vec<(Duration, String)>,
    hosts: Followed,
    gateway: Followed,
    /// When its link was gone, as the recording says.
    links: Vec<Spell>,
    link_lost: Option<Duration>,
}

/// The samples of some targets of a line, and the deaths they show.
#[derive(Debug, Default)]
struct Followed {
    hindsight: Hindsight,
    spells: Vec<Spell>,
    is_any: bool,
}

/// Whether this is the gateway, which proves nothing about the internet behind it.
pub(crate) fn is_gateway(target: &str) -> bool {
    target == "gateway"
}

impl Survey {
    pub(crate) fn of(trace: &Trace) -> Result<Self, TraceError> {
        let mut survey = Self::default();
        let mut reader = trace.read("reading the history");
        let mut latest: Option<Duration> = None;
        while let Some(line) = reader.next()? {
            if let Some(latest) = latest {
                survey.heed_pause(latest, line.time);
            } else {
                survey.from = line.time;
            }
            latest = Some(latest.map_or(line.time, |l| l.max(line.time)));
            survey.take(&line);
        }
        survey.to = latest.unwrap_or_default();
        survey.close(survey.to);
        survey.share_links();
        for line in survey.lines.values_mut() {
            line.settle();
        }
        Ok(survey)
    }

    fn heed_pause(&mut self, latest: Duration, now: Duration) {
        let passed = now.saturating_sub(latest);
        let (usual, known) = self.usual;
        let is_pause =
            passed >= PAUSE_LEAST && known >= 5 && passed.as_secs_f64() >= usual * PAUSE_TIMES;
        if is_pause {
            self.close(latest);
            if self.pauses.len() < KEPT_MAX {
                self.pauses.push((latest, now));
            }
        } else if passed > Duration::from_millis(1) {
            let weight = f64::from(known.min(99));
            let mean = (usual * weight + passed.as_secs_f64()) / (weight + 1.0);
            self.usual = (mean, known.saturating_add(1));
        }
    }

    /// Nothing is known of any line from then on.
    fn close(&mut self, time: Duration) {
        for line in self.lines.values_mut() {
            for followed in [&mut line.hosts, &mut line.gateway] {
                let spell = followed.hindsight.end(time);
                followed.spells.extend(spell);
            }
            if let Some(start) = line.link_lost.take() {
                line.links.push(Spell { start, end: time });
            }
        }
    }

    /// A link is that of both families: gone as soon as one of them was told so, and there again as soon as
    /// one is asked.
    fn share_links(&mut self) {
        for ((uplink, _), line) in &self.lines {
            let links = self.links.entry(uplink.clone()).or_default();
            links.extend(&line.links);
        }
        for links in self.links.values_mut() {
            links.sort_by_key(|s| (s.start, s.end));
            links.dedup_by(|later, earlier| {
                let is_one = earlier.contains(later.start);
                if is_one {
                    earlier.end = earlier.end.min(later.end);
                }
                is_one
            });
        }
        for ((uplink, _), line) in &mut self.lines {
            let links = self.links.get(uplink).into_iter().flatten();
            let is_own = |link: &&Spell| line.links.iter().any(|own| link.contains(own.start));
            line.spells.extend(links.filter(is_own));
            line.spells.append(&mut line.links);
        }
    }

    fn take(&mut self, line: &Line<'_>) {
        match line.seen {
            Seen::Sample { target, rtt } => {
                self.samples += 1;
                self.lost += u64::from(rtt.is_none());
                self.take_sample(line, target, rtt.is_none());
            }
            Seen::Counted(_) => {
                if !self.counted.iter().any(|u| u == line.uplink) && self.counted.len() < SERIES_MAX
                {
                    self.counted.push(line.uplink.to_owned());
                }
            }
            Seen::Event(event) if line.uplink.is_empty() => {
                let dropped = event.strip_suffix(" rows dropped");
                self.dropped += dropped.and_then(|n| n.parse().ok()).unwrap_or(0);
                if event == "start" {
                    self.close(line.time);
                }
            }
            Seen::Event(event) => {
                // What the daemon suspected, not what it decided.
                if event.starts_with("sign: ") {
                    return;
                }
                let event = event.replace("\"\"", "\"");
                let Some(own) = self.line(line) else { return };
                if event.starts_with("down (link)") {
                    own.link_lost.get_or_insert(line.time);
                }
                if own.told.len() < KEPT_MAX {
                    own.told.push((line.time, event));
                } else {
                    self.unkept += 1;
                }
            }
        }
    }

    fn take_sample(&mut self, line: &Line<'_>, target: &str, is_lost: bool) {
        let is_full = self.series >= SERIES_MAX;
        let Some(own) = self.line(line) else { return };
        match own.targets.get_mut(target) {
            Some(samples) => *samples += 1,
            None if is_full => return,
            None => {
                own.targets.insert(target.to_owned(), 1);
                self.series += 1;
            }
        }
        let Some(own) = self.line(line) else { return };
        own.samples += 1;
        own.lost += u64::from(is_lost);
        // It is asked again, so that the link is there.
        if let Some(start) = own.link_lost.filter(|start| line.time > *start) {
            own.link_lost = None;
            let end = line.time;
            own.links.push(Spell { start, end });
        }
        let followed = match is_gateway(target) {
            true => &mut own.gateway,
            false => &mut own.hosts,
        };
        followed.is_any = true;
        let spell = followed.hindsight.take(line.time, is_lost);
        if followed.spells.len() < KEPT_MAX {
            followed.spells.extend(spell);
        } else {
            self.unkept += u64::from(spell.is_some());
        }
    }

    /// Looked up without making a name of its own of each of millions of lines.
    fn line(&mut self, line: &Line<'_>) -> Option<&mut Surveyed> {
        let is_known = |id: &LineId| id.0 == line.uplink && id.1 == line.family;
        // There are few lines, and many samples of each.
        let known = self.lines.keys().find(|id| is_known(id)).cloned();
        let id = match known {
            Some(id) => id,
            None if self.lines.len() >= SERIES_MAX => return None,
            None => (line.uplink.to_owned(), line.family),
        };
        Some(self.lines.entry(id).or_default())
    }

    /// What whoever reads the result should know of the history.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.pauses.is_empty() {
            let all: Duration = self.pauses.iter().map(|(a, b)| b.saturating_sub(*a)).sum();
            notes.push(format!(
                "nothing was recorded {} times, for {} s together: these times are left out, as if the clock \
                 had stood still",
                self.pauses.len(),
                all.as_secs()
            ));
        }
        if self.dropped > 0 {
            let dropped = self.dropped;
            notes.push(format!(
                "the recorder dropped {dropped} rows: the disk was too slow or full"
            ));
        }
        if self.series >= SERIES_MAX {
            notes.push(format!(
                "targets beyond the first {SERIES_MAX} are left out"
            ));
        }
        if self.unkept > 0 {
            let unkept = self.unkept;
            notes.push(format!("{unkept} deaths or events are too many to be kept"));
        }
        if self.counted.is_empty() {
            let text = "the history has no counters: signs from the traffic and full lines are not replayed";
            notes.push(text.to_owned());
        }
        notes
    }
}

impl Surveyed {
    /// The deaths are those that hosts show, or where there are none the gateway.
    fn settle(&mut self) {
        let own = match self.hosts.is_any {
            true => &mut self.hosts,
            false => &mut self.gateway,
        };
        self.spells.append(&mut own.spells);
        self.spells.sort_by_key(|s| (s.start, s.end));
        // A link that is lost while the line is dead is the same death.
        self.spells.dedup_by(|later, earlier| {
            let is_one = later.start <= earlier.end;
            if is_one {
                earlier.end = earlier.end.max(later.end);
            }
            is_one
        });
    }

    /// The death at a moment, if any.
    pub(crate) fn spell_at(&self, moment: Duration) -> Option<&Spell> {
        let index = self.spells.partition_point(|s| s.start <= moment);
        let spell = self.spells.get(index.checked_sub(1)?)?;
        spell.contains(moment).then_some(spell)
    }
}
