//! The core's picture in the words of the API.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use uplinkd_api::{
    ApiError, Decision as ApiDecision, DecisionKind, Explain, ExplainQuery, ExplainStep,
    ExplainUplink, GroupStatus, KernelSays, Protocol, ServingStatus, State, Status, SysctlStatus,
    TargetState, TargetStatus, UplinkStatus,
};
use uplinkd_core::{
    Controller, GroupSnapshot, TargetSnapshot, Time, UplinkSnapshot,
    desired::sysctl_paths,
    explain::{Decision, Exit, Explanation, Flow},
    probe::TargetVerdict,
};
use uplinkd_kernel::{Kernel, RouteQuery, sysctl};
use uplinkd_model::{Health, TableId, UplinkName};

/// The two clocks read at one moment, to tell people when something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: std::time::Instant,
    started_unix: f64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: std::time::Instant::now(),
            started_unix: unix.as_secs_f64(),
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

/// Everything for `uplinkctl status`.
pub(crate) fn status(
    controller: &Controller,
    kernel: &mut Kernel,
    clock: &Clock,
    sysctls_before: &BTreeMap<String, String>,
) -> Status {
    let picture = controller.snapshot();
    let connections = connections(kernel, &picture.uplinks);
    let state = state(&picture.uplinks, picture.last_resort);
    let newest = picture
        .uplinks
        .iter()
        .map(|u| u.since)
        .max()
        .unwrap_or_default();
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: clock.unix(Time::default()),
        time: clock.unix(clock.now()),
        state,
        since: clock.unix(newest),
        summary: summary(state, &picture.uplinks),
        settled: picture.settled,
        last_problem: picture.problem,
        uplinks: picture
            .uplinks
            .iter()
            .map(|u| uplink(u, clock, connections.get(&u.name).copied()))
            .collect(),
        groups: picture.groups.iter().map(group).collect(),
        sysctls: sysctl_paths(controller.config())
            .into_iter()
            .map(|path| SysctlStatus {
                value: sysctl::read(&path).ok(),
                was: sysctls_before.get(&path).cloned(),
                ours: sysctls_before.contains_key(&path),
                path,
            })
            .collect(),
        reserve: (&controller.config().reserve).into(),
    }
}

/// How many connections each uplink carries, by their marks.
fn connections(kernel: &mut Kernel, uplinks: &[UplinkSnapshot]) -> BTreeMap<UplinkName, u64> {
    let count =
        |u: &UplinkSnapshot| Some((u.name.clone(), kernel.count_connections(u.all_mark).ok()?));
    uplinks.iter().filter_map(count).collect()
}

fn state(uplinks: &[UplinkSnapshot], last_resort: bool) -> State {
    let is = |health: Health| uplinks.iter().filter(|u| u.health == health).count();
    if is(Health::Up) == uplinks.len() {
        State::Up
    } else if is(Health::Unknown) > 0 && is(Health::Up) == 0 && !last_resort {
        State::Starting
    } else if last_resort {
        State::Down
    } else {
        State::Degraded
    }
}

fn summary(state: State, uplinks: &[UplinkSnapshot]) -> String {
    let serving: Vec<_> = uplinks
        .iter()
        .filter(|u| u.in_service)
        .map(|u| u.name.as_str())
        .collect();
    let serving = if serving.is_empty() {
        "nothing".to_owned()
    } else {
        serving.join(" and ")
    };
    let down = uplinks.iter().filter(|u| u.health == Health::Down);
    let down: Vec<_> = down
        .map(|u| format!("{} is down: {}", u.name, u.reason))
        .collect();
    match state {
        State::Up => format!("internet through {serving}"),
        State::Starting => {
            "just started; traffic is left as it was until the first answers".to_owned()
        }
        State::Degraded => format!("internet through {serving}; {}", down.join("; ")),
        State::Down => format!(
            "no uplink is up; {serving} kept, the last good choice; {}",
            down.join("; ")
        ),
    }
}

fn uplink(u: &UplinkSnapshot, clock: &Clock, connections: Option<u64>) -> UplinkStatus {
    UplinkStatus {
        name: u.name.to_string(),
        interface: u.interface.clone(),
        family: u.family,
        health: u.health,
        reason: u.reason.to_string(),
        since: clock.unix(u.since),
        in_service: u.in_service,
        weight: u.weight,
        share: u.share,
        connections,
        table: u.table.0,
        mark: u.mark.to_string(),
        gateway: u.gateway,
        addresses: u.addresses.iter().map(ToString::to_string).collect(),
        carrier: u.carrier,
        targets: u.targets.iter().map(target).collect(),
    }
}

fn target(t: &TargetSnapshot) -> TargetStatus {
    TargetStatus {
        target: t.target.to_string(),
        address: t.address,
        state: match t.verdict {
            TargetVerdict::Unknown => TargetState::Unknown,
            TargetVerdict::Pass => TargetState::Pass,
            TargetVerdict::Fail => TargetState::Fail,
        },
        decides: t.decides,
        last_rtt_ms: t.last_rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        loss: t.loss,
        sent: t.sent,
        lost: t.lost,
    }
}

fn group(g: &GroupSnapshot) -> GroupStatus {
    let total: f64 = g.serving.iter().map(|s| f64::from(s.weight)).sum();
    GroupStatus {
        name: g.name.clone(),
        family: g.family,
        serving: g
            .serving
            .iter()
            .map(|s| ServingStatus {
                uplink: s.uplink.to_string(),
                weight: s.weight,
                share: f64::from(s.weight) / total,
            })
            .collect(),
        last_resort: g.last_resort,
        reason: match (g.last_resort, g.serving.is_empty()) {
            (_, true) => "no uplink is usable".to_owned(),
            (true, false) => "no uplink is up; the last good choice is kept".to_owned(),
            (false, false) => "every uplink that is up, by weight".to_owned(),
        },
    }
}

/// Answers `uplinkctl explain`: the core's reasons, and beside them what the kernel says itself.
pub(crate) fn explain(
    controller: &Controller,
    kernel: &mut Kernel,
    query: ExplainQuery,
) -> Result<Explain, ApiError> {
    let if_down = query
        .if_down
        .iter()
        .map(|word| known_uplink(controller, word))
        .collect::<Result<_, _>>()?;
    let ask = |kernel: &mut Kernel, mark: u32| {
        kernel.route_get(RouteQuery {
            source: query.from,
            protocol: query.protocol.map(|p| match p {
                Protocol::Icmp => 1,
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            }),
            source_port: query.sport,
            dest_port: query.dport,
            iif: incoming(controller, &query),
            mark,
            ..RouteQuery::to(query.to)
        })
    };
    let answer = ask(kernel, query.mark.unwrap_or(0));
    let kernel_says = answer
        .as_ref()
        .ok()
        .filter(|_| query.if_down.is_empty())
        .map(|a| KernelSays {
            device: Some(a.device.clone()),
            gateway: a.gateway,
            source: a.source,
            table: Some(a.table.0),
        });
    if answer
        .as_ref()
        .is_ok_and(|a| a.kind == uplinkd_kernel::RouteKind::Local)
    {
        return Ok(local(query, kernel_says));
    }
    // `main` counts where the kernel's answer came from it: with our rules in place that is only so
    // for connected and specific routes.
    let main_leads = answer.ok().map(|a| a.table == TableId::MAIN);
    let flow = Flow {
        from: query.from,
        to: query.to,
        iif: query.iif.clone(),
        mark: query.mark.unwrap_or(0),
        if_down,
    };
    let explanation = controller.explain(&flow, main_leads);
    let text = sentence(&explanation.decision);
    Ok(Explain {
        query,
        steps: steps(&explanation),
        decision: decision(explanation.decision),
        kernel_says,
        text,
    })
}

fn known_uplink(controller: &Controller, word: &str) -> Result<UplinkName, ApiError> {
    let names = || {
        controller
            .config()
            .uplinks
            .iter()
            .map(|u| u.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    UplinkName::new(word)
        .ok()
        .filter(|name| controller.config().uplink(name).is_some())
        .ok_or_else(|| {
            ApiError::new(format!("there is no uplink {word:?}"))
                .with_hint(format!("there are: {}", names()))
        })
}

/// The interface to ask the kernel with: a forwarded packet needs one, the router's own must have none.
fn incoming(controller: &Controller, query: &ExplainQuery) -> Option<String> {
    let is_own = |a: &IpAddr| controller.has_address(*a);
    match (&query.iif, &query.from) {
        (Some(iif), _) => Some(iif.clone()).filter(|i| i != "lo"),
        (None, Some(from)) if !is_own(from) => controller.config().lan.first().cloned(),
        (None, _) => None,
    }
}

fn local(query: ExplainQuery, kernel_says: Option<KernelSays>) -> Explain {
    let decision = ApiDecision {
        kind: DecisionKind::Local,
        table: None,
        group: None,
        uplinks: Vec::new(),
        last_resort: false,
    };
    let text = format!("{} is an address of this router", query.to);
    Explain {
        query,
        steps: Vec::new(),
        decision,
        kernel_says,
        text,
    }
}

fn steps(explanation: &Explanation) -> Vec<ExplainStep> {
    let step = |s: &uplinkd_core::explain::ExplainedStep| ExplainStep {
        rule: s.rule.clone(),
        matched: s.matched,
        why: s.why.clone(),
    };
    explanation.steps.iter().map(step).collect()
}

fn decision(decision: Decision) -> ApiDecision {
    let by = |exit: Exit, share: f64| ExplainUplink {
        uplink: exit.uplink.to_string(),
        share,
        nat_address: exit.nat,
    };
    let plain = |kind| ApiDecision {
        kind,
        table: None,
        group: None,
        uplinks: Vec::new(),
        last_resort: false,
    };
    match decision {
        Decision::Main => ApiDecision {
            table: Some(TableId::MAIN.0),
            ..plain(DecisionKind::Main)
        },
        Decision::NotOurs => plain(DecisionKind::Foreign),
        Decision::Uplink(exit) => ApiDecision {
            uplinks: vec![by(exit, 1.0)],
            ..plain(DecisionKind::Uplink)
        },
        Decision::Group {
            group,
            table,
            exits,
            last_resort,
        } => ApiDecision {
            kind: DecisionKind::Group,
            table: Some(table.0),
            group: Some(group),
            uplinks: exits
                .into_iter()
                .map(|(exit, share)| by(exit, share))
                .collect(),
            last_resort,
        },
    }
}

fn sentence(decision: &Decision) -> String {
    let behind = |exit: &Exit| {
        exit.nat
            .map(|nat| format!(" (as {nat})"))
            .unwrap_or_default()
    };
    match decision {
        Decision::Main => "a connected or specific route of the main table leads there".to_owned(),
        Decision::NotOurs => {
            "nothing of ours applies; other rules and the main table decide".to_owned()
        }
        Decision::Uplink(exit) => format!("leaves by {}{}", exit.uplink, behind(exit)),
        Decision::Group {
            exits,
            last_resort,
            group,
            ..
        } => {
            let ways: Vec<_> = exits
                .iter()
                .map(|(e, share)| format!("{}{} {:.0} %", e.uplink, behind(e), share * 100.0))
                .collect();
            let kept = if *last_resort {
                ", kept as the last good choice"
            } else {
                ""
            };
            format!("group {group}{kept}: {}", ways.join(", "))
        }
    }
}
