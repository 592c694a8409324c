//! The state as figures for Prometheus, in its text format (version 0.0.4).
//!
//! Names end with their base unit, and labels are what the file names: uplinks, families, groups, targets. The
//! loop takes the picture; the text is made beside it.

mod text;

use std::collections::BTreeMap;

use uplinkd_core::{OutletState, Snapshot, Time};
use uplinkd_history::{Answers, Series};
use uplinkd_model::{Counters, Family, Health, UplinkName};
use uplinkd_notify::Figures;

use self::text::{Kind, Text};
use super::Clock;
use crate::meter::Meter;

/// Targets that are told of. Each has a dozen time series, which is what a Prometheus has to pay for.
const TARGETS_MAX: usize = 500;
/// Bounds of the histogram of round-trip times: seconds as text, and microseconds.
const BOUNDS: [(&str, u64); 12] = [
    ("0.001", 1000),
    ("0.0025", 2500),
    ("0.005", 5000),
    ("0.01", 10_000),
    ("0.025", 25_000),
    ("0.05", 50_000),
    ("0.1", 100_000),
    ("0.25", 250_000),
    ("0.5", 500_000),
    ("1", 1_000_000),
    ("2.5", 2_500_000),
    ("5", 5_000_000),
];

/// All that is told, at one moment.
pub(crate) struct Picture {
    snapshot: Snapshot,
    /// What each uplink's interface has counted.
    counters: BTreeMap<UplinkName, Counters>,
    /// Targets, by what they are of.
    targets: Vec<(Series, Answers)>,
    targets_all: usize,
    switches: BTreeMap<(String, Family), u64>,
    changes: BTreeMap<(UplinkName, Family, Health), u64>,
    /// Unix seconds.
    started: f64,
    since: Vec<f64>,
    /// Who is told of what happens.
    notify: Vec<(String, Figures)>,
    /// The connections that policies have decided, of those that are counted.
    policies: BTreeMap<String, u64>,
}

impl Picture {
    /// Takes it.
    pub(crate) fn take(
        snapshot: Snapshot,
        counters: BTreeMap<UplinkName, Counters>,
        meter: &Meter,
        clock: &Clock,
    ) -> Self {
        let targets = meter.targets().iter().take(TARGETS_MAX);
        Self {
            targets: targets
                .map(|t| ((*t.series).clone(), t.total.clone()))
                .collect(),
            targets_all: meter.targets().len(),
            switches: meter.switches.clone(),
            changes: meter.changes.clone(),
            started: clock.unix(Time::default()),
            since: snapshot.lines.iter().map(|l| clock.unix(l.since)).collect(),
            snapshot,
            counters,
            notify: Vec::new(),
            policies: BTreeMap::new(),
        }
    }

    /// With what became of messages, by channel.
    pub(crate) fn with_notify(mut self, notify: Vec<(String, Figures)>) -> Self {
        self.notify = notify;
        self
    }

    /// With what policies have counted, by name.
    pub(crate) fn with_policies(mut self, policies: BTreeMap<String, u64>) -> Self {
        self.policies = policies;
        self
    }

    /// As text. `history` says whether it is written, where it should be.
    pub(crate) fn render(&self, history: Option<bool>) -> String {
        let mut out = Text::default();
        out.family("build_info", Kind::Gauge, "Which version runs; always 1.");
        out.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        out.family(
            "start_time_seconds",
            Kind::Gauge,
            "When the daemon started, unix time.",
        );
        out.sample("start_time_seconds", &[], self.started);
        let help = "Whether a fresh look at the kernel showed what it should hold.";
        out.family("settled", Kind::Gauge, help);
        out.sample("settled", &[], f64::from(u8::from(self.snapshot.settled)));
        if let Some(is_written) = history {
            let help = "Whether the history can be written.";
            out.family("history_writable", Kind::Gauge, help);
            out.sample("history_writable", &[], f64::from(u8::from(is_written)));
        }
        self.lines(&mut out);
        self.traffic(&mut out);
        self.groups(&mut out);
        self.policies(&mut out);
        self.probes(&mut out);
        self.notify(&mut out);
        out.finish()
    }

    fn lines(&self, out: &mut Text) {
        let lines: Vec<_> = self.snapshot.lines.iter().filter(|l| !l.absent).collect();
        let mut of = |name: &str, help: &str, value: &dyn Fn(usize) -> f64| {
            out.family(name, Kind::Gauge, help);
            for (index, line) in lines.iter().enumerate() {
                let labels = [
                    ("uplink", line.name.as_str()),
                    ("family", word(line.family)),
                ];
                out.sample(name, &labels, value(index));
            }
        };
        let is = |yes: bool| f64::from(u8::from(yes));
        of(
            "uplink_up",
            "Whether the uplink works: it is up or degraded.",
            &|i| is(matches!(lines[i].health, Health::Up | Health::Degraded)),
        );
        of(
            "uplink_in_service",
            "Whether new connections may use the uplink.",
            &|i| is(lines[i].in_service),
        );
        let help = "The uplink's part of new connections of the default group, by weight.";
        of("uplink_share_ratio", help, &|i| lines[i].share);
        let since = self.snapshot.lines.iter().zip(&self.since);
        let since: Vec<_> = since.filter(|(l, _)| !l.absent).map(|(_, s)| *s).collect();
        let help = "When the uplink got the health it has, unix time.";
        of("uplink_health_change_timestamp_seconds", help, &|i| {
            since[i]
        });
        out.family(
            "uplink_health",
            Kind::Gauge,
            "1 for the health that the uplink has.",
        );
        for line in &lines {
            for health in [Health::Unknown, Health::Up, Health::Degraded, Health::Down] {
                let labels = [
                    ("uplink", line.name.as_str()),
                    ("family", word(line.family)),
                    ("health", &health.to_string()),
                ];
                out.sample("uplink_health", &labels, is(line.health == health));
            }
        }
        let help = "How often the uplink got this health.";
        out.family("health_changes_total", Kind::Counter, help);
        for ((uplink, family, health), count) in &self.changes {
            let labels = [
                ("uplink", uplink.as_str()),
                ("family", word(*family)),
                ("health", &health.to_string()),
            ];
            out.sample("health_changes_total", &labels, *count as f64);
        }
    }

    fn policies(&self, out: &mut Text) {
        let help = "New connections that the policy has decided.";
        out.family("policy_connections_total", Kind::Counter, help);
        for (policy, count) in &self.policies {
            let labels = [("policy", policy.as_str())];
            out.sample("policy_connections_total", &labels, *count as f64);
        }
    }

    fn traffic(&self, out: &mut Text) {
        let mut of = |name: &str, help: &str, both: &dyn Fn(&Counters) -> [u64; 2]| {
            out.family(name, Kind::Counter, help);
            for (uplink, counters) in &self.counters {
                for (direction, value) in ["in", "out"].into_iter().zip(both(counters)) {
                    let labels = [("uplink", uplink.as_str()), ("direction", direction)];
                    out.sample(name, &labels, value as f64);
                }
            }
        };
        of(
            "uplink_bytes_total",
            "Bytes that the uplink's interface carried.",
            &|c| [c.rx_bytes, c.tx_bytes],
        );
        of(
            "uplink_packets_total",
            "Packets that the uplink's interface carried.",
            &|c| [c.rx_packets, c.tx_packets],
        );
        let budgets = self
            .snapshot
            .lines
            .iter()
            .filter_map(|l| Some((&l.name, l.budget?)));
        let budgets: BTreeMap<_, _> = budgets.collect();
        let help = "Bytes that the uplink has used of its budget in this period.";
        out.family("uplink_budget_used_bytes", Kind::Gauge, help);
        for (name, budget) in &budgets {
            let labels = [("uplink", name.as_str())];
            out.sample("uplink_budget_used_bytes", &labels, budget.used as f64);
        }
        let help = "Bytes that the uplink's budget has in a period.";
        out.family("uplink_budget_limit_bytes", Kind::Gauge, help);
        for (name, budget) in &budgets {
            let labels = [("uplink", name.as_str())];
            out.sample("uplink_budget_limit_bytes", &labels, budget.limit as f64);
        }
    }

    fn groups(&self, out: &mut Text) {
        let outlets = &self.snapshot.outlets;
        let help = "An uplink's part of new connections of a group, by weight.";
        out.family("group_share_ratio", Kind::Gauge, help);
        for outlet in outlets {
            let total: f64 = outlet.serving.iter().map(|s| f64::from(s.weight)).sum();
            for share in &outlet.serving {
                let labels = [
                    ("group", outlet.name.as_str()),
                    ("family", word(outlet.family)),
                    ("uplink", share.uplink.as_str()),
                ];
                out.sample(
                    "group_share_ratio",
                    &labels,
                    f64::from(share.weight) / total,
                );
            }
        }
        let help = "Whether no uplink of a group is up, and what served last is kept.";
        out.family("group_last_resort", Kind::Gauge, help);
        for outlet in outlets {
            let labels = [
                ("group", outlet.name.as_str()),
                ("family", word(outlet.family)),
            ];
            let is_last = outlet.state == OutletState::LastResort;
            out.sample("group_last_resort", &labels, f64::from(u8::from(is_last)));
        }
        let help = "How often a group was served by other uplinks than before.";
        out.family("switches_total", Kind::Counter, help);
        // Those that never switched as well, so that a first switch is seen as an increase.
        let all = outlets.iter().map(|o| ((o.name.clone(), o.family), 0));
        let mut all: BTreeMap<_, _> = all.collect();
        all.extend(self.switches.clone());
        for ((group, family), count) in &all {
            let labels = [("group", group.as_str()), ("family", word(*family))];
            out.sample("switches_total", &labels, *count as f64);
        }
    }

    fn notify(&self, out: &mut Text) {
        if self.notify.is_empty() {
            return;
        }
        let help = "Messages to a channel, by whether they arrived.";
        out.family("notify_messages_total", Kind::Counter, help);
        for (channel, figures) in &self.notify {
            for (result, count) in [("sent", figures.sent), ("failed", figures.failed)] {
                let labels = [("channel", channel.as_str()), ("result", result)];
                out.sample("notify_messages_total", &labels, count as f64);
            }
        }
        let mut of = |name: &str, kind, help: &str, value: &dyn Fn(&Figures) -> f64| {
            out.family(name, kind, help);
            for (channel, figures) in &self.notify {
                out.sample(name, &[("channel", channel.as_str())], value(figures));
            }
        };
        let help = "Events that a channel left out: too many, or nobody takes them.";
        of("notify_dropped_total", Kind::Counter, help, &|f| {
            f.dropped as f64
        });
        let help = "Events that wait to be told.";
        of("notify_waiting", Kind::Gauge, help, &|f| f.waiting as f64);
    }

    fn probes(&self, out: &mut Text) {
        let lines = self
            .snapshot
            .lines
            .iter()
            .flat_map(|l| l.targets.iter().map(move |t| (l, t)));
        let help = "The part of probes that were lost lately, over the window of the judgement.";
        out.family("probe_loss_ratio", Kind::Gauge, help);
        for (line, target) in lines.take(TARGETS_MAX) {
            let target_word = target.target.to_string();
            let labels = [
                ("uplink", line.name.as_str()),
                ("family", word(line.family)),
                ("target", &target_word),
            ];
            out.sample("probe_loss_ratio", &labels, target.figures.loss());
        }
        let mut of = |name: &str, help: &str, value: &dyn Fn(&Answers) -> u64| {
            out.family(name, Kind::Counter, help);
            for (series, answers) in &self.targets {
                out.sample(name, &labels_of(series), value(answers) as f64);
            }
        };
        of("probes_total", "Probes with a result.", &|a| a.asked);
        of(
            "probes_lost_total",
            "Probes that were not answered in time.",
            &|a| a.lost,
        );
        let help = "Round-trip times of probes.";
        out.family("probe_rtt_seconds", Kind::Histogram, help);
        for (series, answers) in &self.targets {
            let labels = labels_of(series);
            let with = |bound| [labels[0], labels[1], labels[2], ("le", bound)];
            for (bound, micros) in BOUNDS {
                let within = answers.spread.at_most(micros) as f64;
                out.sample("probe_rtt_seconds_bucket", &with(bound), within);
            }
            let count = answers.spread.count() as f64;
            out.sample("probe_rtt_seconds_bucket", &with("+Inf"), count);
            out.sample("probe_rtt_seconds_sum", &labels, answers.sum as f64 / 1e6);
            out.sample("probe_rtt_seconds_count", &labels, count);
        }
        let help = "Targets that are left out of the figures, since there are too many.";
        out.family("targets_omitted", Kind::Gauge, help);
        let omitted = self.targets_all - self.targets.len();
        out.sample("targets_omitted", &[], omitted as f64);
    }
}

fn labels_of(series: &Series) -> [(&'static str, &str); 3] {
    [
        ("uplink", series.uplink.as_str()),
        ("family", series.family.map_or("", word)),
        ("target", series.target.as_deref().unwrap_or_default()),
    ]
}

fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}
