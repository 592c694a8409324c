//! Counts what becomes of every question, and what changes, since the daemon's start: for Prometheus and for
//! history. Costs the loop a look-up and a few additions for each question.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use uplinkd_core::{Probe, Time, event::Asking};
use uplinkd_history::{Answers, Series};
use uplinkd_model::{Config, Family, Health, Subject, UplinkName, notice::Notice};

/// Questions that are waited for at most, as those that are recorded. The oldest is dropped, uncounted.
const PENDING_MAX: usize = 65_536;
/// Ways to ask that are remembered at most, should a gateway change its address again and again.
const KEYS_MAX: usize = 65_536;

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    targets: Vec<Target>,
    /// Their places, by what is asked of whom over which uplink.
    keys: HashMap<Key, usize>,
    /// In the order in which they were asked, which is that of their numbers.
    pending: VecDeque<Pending>,
    /// The number of the first of them.
    first: u64,
    /// How often a group was served by others than before.
    pub(crate) switches: BTreeMap<(String, Family), u64>,
    /// How often a line got a health.
    pub(crate) changes: BTreeMap<(UplinkName, Family, Health), u64>,
}

/// A target of a line.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) series: Arc<Series>,
    /// Since the daemon's start.
    pub(crate) total: Answers,
    /// Since somebody last took it.
    slot: Answers,
    /// The newest round-trip time in microseconds.
    last: Option<u64>,
    timeout: Duration,
}

/// What tells one target of a line from all others, and is at hand in each question.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// The uplink's.
    mark: u32,
    family: Family,
    asked: Asked,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Asked {
    Echo(IpAddr),
    Neighbour(IpAddr),
    /// By its place in memory, where the configuration keeps it as long as keys are.
    Service(usize),
}

#[derive(Debug)]
struct Pending {
    target: usize,
    /// When it was asked, and until when an answer counts.
    asked: Time,
    until: Time,
    is_counted: bool,
}

impl Meter {
    /// Another configuration is in force: targets that it does not have are forgotten.
    pub(crate) fn configured(&mut self, config: &Config) {
        self.keys.clear();
        self.first += self.pending.len() as u64;
        self.pending.clear();
        let before = std::mem::take(&mut self.targets);
        let before = before.into_iter().map(|t| (Arc::clone(&t.series), t));
        let mut before: BTreeMap<_, _> = before.collect();
        for uplink in &config.uplinks {
            for family in [Family::V4, Family::V6] {
                let Some(access) = uplink.access(family) else {
                    continue;
                };
                for target in &access.probe.targets {
                    let series = Series::target(uplink.name.clone(), family, target.to_string());
                    if let Some(known) = before.remove(&series) {
                        let timeout = target.limit(access.probe.timeout);
                        self.targets.push(Target { timeout, ..known });
                    }
                }
            }
        }
    }

    /// The targets that were asked.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What was counted since the last call, of so many targets: always the same ones.
    pub(crate) fn take_slots(
        &mut self,
        most: usize,
    ) -> impl Iterator<Item = (&Arc<Series>, Answers)> {
        let first = self.targets.iter_mut().take(most);
        let asked = first.filter(|t| t.slot.asked > 0);
        asked.map(|t| (&t.series, std::mem::take(&mut t.slot)))
    }

    /// A question was asked.
    pub(crate) fn asked(&mut self, probe: &Probe, config: &Config, now: Time) {
        let target = self.target_of(probe, config);
        let next = self.first + self.pending.len() as u64;
        if probe.id.0 != next {
            // The first one.
            self.pending.clear();
            self.first = probe.id.0;
        }
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_front();
            self.first += 1;
        }
        self.pending.push_back(Pending {
            target,
            asked: now,
            until: now + self.targets[target].timeout,
            is_counted: false,
        });
        self.settle(now);
    }

    /// A question was answered.
    pub(crate) fn answered(&mut self, id: u64, rtt: Duration, now: Time) {
        let index = id.checked_sub(self.first).map(usize::try_from);
        let Some(Ok(index)) = index else { return };
        let Some(pending) = self.pending.get_mut(index) else {
            return;
        };
        // One that came too late is lost, and is counted when its time is over.
        if pending.is_counted || pending.asked + rtt > pending.until {
            return;
        }
        pending.is_counted = true;
        let target = &mut self.targets[pending.target];
        let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        target.slot.answered(micros, target.last);
        target.total.answered(micros, target.last);
        target.last = Some(micros);
        self.settle(now);
    }

    /// Counts those as lost whose time is over.
    pub(crate) fn settle(&mut self, now: Time) {
        while let Some(front) = self.pending.front() {
            if !front.is_counted && front.until > now {
                break;
            }
            if !front.is_counted {
                let target = &mut self.targets[front.target];
                target.slot.lost();
                target.total.lost();
                target.last = None;
            }
            self.pending.pop_front();
            self.first += 1;
        }
    }

    /// Something happened.
    pub(crate) fn told(&mut self, notice: &Notice) {
        if let Notice::Health {
            uplink, family, to, ..
        } = notice
        {
            *self
                .changes
                .entry((uplink.clone(), *family, *to))
                .or_default() += 1;
        } else if let Notice::Selection { group, family, .. } = notice {
            *self.switches.entry((group.clone(), *family)).or_default() += 1;
        }
    }

    fn target_of(&mut self, probe: &Probe, config: &Config) -> usize {
        let family = probe.family();
        let key = Key {
            mark: probe.mark,
            family,
            asked: match &probe.asking {
                Asking::Echo(address) => Asked::Echo(*address),
                Asking::Question(question) => match &question.subject {
                    Subject::Neighbour(address) => Asked::Neighbour(*address),
                    Subject::Service(service) => Asked::Service(Arc::as_ptr(service).addr()),
                },
            },
        };
        if let Some(target) = self.keys.get(&key) {
            return *target;
        }
        let label = probe.label(config);
        let series = Series::target(probe.uplink.clone(), family, label);
        let known = self.targets.iter().position(|t| *t.series == series);
        let target = known.unwrap_or_else(|| {
            let access = config.uplink(&probe.uplink).and_then(|u| u.access(family));
            let timeout = match &probe.asking {
                Asking::Echo(_) => access.map_or(Duration::from_secs(1), |a| a.probe.timeout),
                Asking::Question(question) => question.limit,
            };
            self.targets.push(Target {
                series: Arc::new(series),
                total: Answers::default(),
                slot: Answers::default(),
                last: None,
                timeout,
            });
            self.targets.len() - 1
        });
        if self.keys.len() >= KEYS_MAX {
            self.keys.clear();
        }
        self.keys.insert(key, target);
        target
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_core::ProbeId;

    use super::*;

    fn config(targets: &str) -> Config {
        let text = format!(
            "[uplink.isp1]\ninterface = \"a\"\n[probe]\ntargets = [{targets}]\ntimeout = \"1s\"\n"
        );
        let parsed = uplinkd_config::parse("u.toml", &text).unwrap();
        parsed.to_config(&Default::default(), &Default::default())
    }

    fn ask(meter: &mut Meter, config: &Config, id: u64, address: &str, at: u64) {
        let probe = Probe {
            id: ProbeId(id),
            uplink: UplinkName::new("isp1").unwrap(),
            device: "a".to_owned(),
            mark: 1,
            asking: Asking::Echo(address.parse().unwrap()),
        };
        meter.asked(&probe, config, ms(at));
    }

    fn ms(at: u64) -> Time {
        Time(Duration::from_millis(at))
    }

    fn totals(meter: &Meter) -> Vec<(&str, u64, u64)> {
        let targets = meter.targets().iter();
        let told = targets.map(|t| {
            let label = t.series.target.as_deref().unwrap_or_default();
            (label, t.total.asked, t.total.lost)
        });
        told.collect()
    }

    const BOTH: &str = "\"icmp:192.0.2.1\", \"icmp:192.0.2.2\"";

    #[test]
    fn each_question_counts_once_however_its_answers_come() {
        let (config, mut meter) = (config(BOTH), Meter::default());
        for id in 0..5 {
            let address = ["192.0.2.1", "192.0.2.2"][id as usize % 2];
            ask(&mut meter, &config, 100 + id, address, id);
        }
        let rtt = Duration::from_millis(20);
        meter.answered(101, rtt, ms(25));
        meter.answered(101, rtt, ms(26)); // Twice.
        meter.answered(100, rtt, ms(27));
        meter.answered(102, Duration::from_secs(3), ms(28)); // Too late.
        meter.answered(99, rtt, ms(28)); // Nobody's.
        meter.answered(700, rtt, ms(28));
        meter.settle(ms(1500));
        assert_eq!(
            totals(&meter),
            [("icmp:192.0.2.1", 3, 2), ("icmp:192.0.2.2", 2, 1)]
        );
        assert!(meter.pending.is_empty());
        let slots: Vec<_> = meter.take_slots(9).map(|(_, a)| a.asked).collect();
        assert_eq!(slots, [3, 2]);
        assert_eq!(meter.take_slots(9).count(), 0, "taken already");
        assert_eq!(totals(&meter)[0].1, 3);
    }

    #[test]
    fn a_reload_keeps_the_counts_of_targets_that_stay() {
        let (config_before, mut meter) = (config(BOTH), Meter::default());
        ask(&mut meter, &config_before, 0, "192.0.2.1", 0);
        ask(&mut meter, &config_before, 1, "192.0.2.2", 0);
        meter.settle(ms(5000));
        let after = config("\"icmp:192.0.2.2\"");
        ask(&mut meter, &config_before, 2, "192.0.2.1", 5000);
        meter.configured(&after);
        assert_eq!(totals(&meter), [("icmp:192.0.2.2", 1, 1)]);
        // What was asked before is nobody's any more; numbers go on.
        ask(&mut meter, &after, 3, "192.0.2.2", 5001);
        meter.answered(3, Duration::from_millis(5), ms(5010));
        assert_eq!(totals(&meter), [("icmp:192.0.2.2", 2, 1)]);
    }
}
