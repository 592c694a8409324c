//! Everything for `uplinkctl status`.

use std::collections::{BTreeMap, BTreeSet};

use nix::net::if_::if_nametoindex;
use uplinkd_api::{
    BudgetStatus, GroupStatus, ServingStatus, State, Status, SysctlStatus, TargetState,
    TargetStatus, TcpStatus, TierStatus, UplinkStatus, WaitingStatus, YieldingStatus,
};
use uplinkd_core::{
    BudgetSnapshot, Controller, LineSnapshot, OutletSnapshot, OutletState, Snapshot,
    TargetSnapshot, Time, desired::sysctl_paths, probe::TargetVerdict,
};
use uplinkd_kernel::{Kernel, sysctl};
use uplinkd_model::{Config, Counters, Family, Health, policy::OutletTier};

use super::{Clock, operate::wish};
use crate::connections::Counted;

/// The status, without the numbers of connections, and how these are to be counted.
pub(crate) fn status(
    controller: &Controller,
    kernel: &mut Kernel,
    clock: &Clock,
    sysctls_before: &BTreeMap<String, String>,
) -> (Status, Vec<Counted>) {
    let picture = controller.snapshot();
    let lines = present(&picture);
    let state = state(&lines, &picture);
    let newest = lines.iter().map(|l| l.since).max().unwrap_or_default();
    let counted = |l: &LineSnapshot| (!l.absent).then_some((l.family, l.all_mark));
    let mut counted: Vec<Counted> = picture.lines.iter().map(counted).collect();
    let outlets = picture.outlets.iter();
    let outlets: Vec<_> = outlets
        .filter(|o| o.table.is_some() || o.group.is_some())
        .collect();
    let reserve = &controller.config().reserve;
    counted.extend(outlets.iter().map(|outlet| {
        let code = outlet.code.filter(|code| *code > 0)?;
        Some((outlet.family, reserve.mark_outlet(code)))
    }));
    let traffic = traffic(&picture, kernel);
    let status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: clock.unix(Time::default()),
        time: clock.unix(clock.now()),
        state,
        since: clock.unix(newest),
        summary: summary(state, &lines),
        settled: picture.settled,
        last_problem: picture.problem.clone(),
        trial: None,
        rolled_back: None,
        notify: Vec::new(),
        uplinks: picture
            .lines
            .iter()
            .map(|line| uplink(line, clock, traffic.get(&line.interface)))
            .collect(),
        groups: outlets
            .iter()
            .map(|outlet| group(outlet, controller.config(), clock))
            .collect(),
        sysctls: sysctl_paths(controller.config())
            .into_iter()
            .map(|path| SysctlStatus {
                value: sysctl::read(&path).ok(),
                was: sysctls_before.get(&path).cloned(),
                ours: sysctls_before.contains_key(&path),
                path,
            })
            .collect(),
        reserve: reserve.into(),
    };
    (status, counted)
}

/// What each interface has counted, where it is there.
fn traffic(picture: &Snapshot, kernel: &mut Kernel) -> BTreeMap<String, Counters> {
    let mut traffic = BTreeMap::new();
    for line in &picture.lines {
        if !traffic.contains_key(&line.interface)
            && let Ok(index) = if_nametoindex(line.interface.as_str())
            && let Some(counters) = kernel.counters(&[index]).remove(&index)
        {
            traffic.insert(line.interface.clone(), counters);
        }
    }
    traffic
}

/// The lines that count: one that is neither there nor missed is no fault and no help.
fn present(picture: &Snapshot) -> Vec<&LineSnapshot> {
    picture.lines.iter().filter(|l| !l.absent).collect()
}

fn state(lines: &[&LineSnapshot], picture: &Snapshot) -> State {
    let is = |health: Health| lines.iter().filter(|l| l.health == health).count();
    let families: BTreeSet<Family> = lines.iter().map(|l| l.family).collect();
    let is_out = |family: &Family| *picture.last_resort.of(*family);
    if !lines.is_empty() && is(Health::Up) == lines.len() {
        State::Up
    } else if !families.is_empty() && families.iter().all(is_out) {
        State::Down
    } else if is(Health::Unknown) > 0 && is(Health::Up) == 0 {
        State::Starting
    } else {
        State::Degraded
    }
}

fn summary(state: State, lines: &[&LineSnapshot]) -> String {
    let serving = serving(lines);
    let has_two = families(lines).len() > 1;
    let down = lines.iter().filter(|l| l.health == Health::Down);
    let down: Vec<_> = down
        .map(|l| {
            let family = if has_two {
                format!(" with {}", l.family)
            } else {
                String::new()
            };
            format!("{} is down{family}: {}", l.name, l.reason)
        })
        .collect();
    match state {
        State::Up => format!("internet through {serving}"),
        State::Starting => {
            "just started; traffic is left as it was until the first answers".to_owned()
        }
        State::Degraded if down.is_empty() => format!("internet through {serving}"),
        State::Degraded => format!("internet through {serving}; {}", down.join("; ")),
        State::Down => format!(
            "no uplink is up; {serving} kept, the last good choice; {}",
            down.join("; ")
        ),
    }
}

fn families(lines: &[&LineSnapshot]) -> BTreeSet<Family> {
    lines.iter().map(|l| l.family).collect()
}

/// The uplinks in service; family by family where these differ.
fn serving(lines: &[&LineSnapshot]) -> String {
    let of = |family: Family| {
        let serves = |l: &LineSnapshot| l.in_service && !l.is_idle;
        let lines = lines.iter().filter(|l| l.family == family && serves(l));
        let names: Vec<_> = lines.map(|l| l.name.as_str()).collect();
        if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(" and ")
        }
    };
    let each: Vec<_> = families(lines).into_iter().map(|f| (f, of(f))).collect();
    match each.as_slice() {
        [] => "nothing".to_owned(),
        [(_, first), rest @ ..] if rest.iter().all(|(_, names)| names == first) => first.clone(),
        each => each
            .iter()
            .map(|(family, names)| format!("{names} with {family}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

fn uplink(line: &LineSnapshot, clock: &Clock, traffic: Option<&Counters>) -> UplinkStatus {
    UplinkStatus {
        name: line.name.to_string(),
        interface: line.interface.clone(),
        family: line.family,
        health: line.health,
        reason: line.reason.to_string(),
        since: clock.unix(line.since),
        absent: line.absent,
        in_service: line.in_service,
        weight: line.weight,
        share: line.share,
        connections: None,
        received_bytes: traffic.map(|t| t.rx_bytes),
        sent_bytes: traffic.map(|t| t.tx_bytes),
        table: line.table.0,
        mark: line.mark.to_string(),
        gateway: line.gateway,
        addresses: line.addresses.iter().map(ToString::to_string).collect(),
        prefix: line.prefix.map(|p| p.to_string()),
        deprecated: line.deprecated.iter().map(ToString::to_string).collect(),
        carrier: line.carrier,
        targets: line.targets.iter().map(target).collect(),
        tcp: line.tcp.map(|tcp| TcpStatus {
            rtt_ms: tcp.rtt.map(milliseconds),
            sent: tcp.sent,
            sent_again: tcp.again,
        }),
        budget: line.budget.map(budget_status),
        drained: line.drained.as_ref().map(|w| wish(w, clock)),
        idle: line.is_idle,
        preferred: line.preferred.as_ref().map(|w| wish(w, clock)),
    }
}

/// What was used of a budget, in the words of the API.
pub(crate) fn budget_status(budget: BudgetSnapshot) -> BudgetStatus {
    BudgetStatus {
        used: budget.used,
        limit: budget.limit,
        since: budget.since.to_string(),
        until: budget.until.to_string(),
        spent: budget.is_spent,
        at_limit: budget.at_limit,
    }
}

fn milliseconds(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1000.0
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
        refusal: t.refusal.clone(),
        last_rtt_ms: t.last_rtt.map(milliseconds),
        mean_rtt_ms: t.figures.mean.map(milliseconds),
        deviation_ms: t.figures.deviation.map(milliseconds),
        median_rtt_ms: t.figures.median.map(milliseconds),
        p95_rtt_ms: t.figures.p95.map(milliseconds),
        jitter_ms: t.figures.jitter.map(milliseconds),
        loss: t.figures.loss(),
        sent: t.sent,
        lost: t.lost,
    }
}

fn group(outlet: &OutletSnapshot, config: &Config, clock: &Clock) -> GroupStatus {
    let tiers = tiers(outlet, config);
    let total: f64 = outlet.serving.iter().map(|s| f64::from(s.weight)).sum();
    let tier = match outlet.state {
        OutletState::Tier { index, .. } => Some(index + 1),
        OutletState::LastResort
        | OutletState::Default
        | OutletState::Blocked
        | OutletState::Main => None,
    };
    GroupStatus {
        name: outlet.name.clone(),
        family: outlet.family,
        group: outlet.group.clone(),
        code: outlet.code.unwrap_or_default(),
        table: outlet.table.map(|t| t.0).unwrap_or_default(),
        tier,
        waiting: outlet.waiting.map(|w| WaitingStatus {
            tier: w.tier + 1,
            until: w.until.map(|t| clock.unix(t)),
        }),
        balance: outlet.balance.clone(),
        yielding: outlet
            .yielding
            .iter()
            .map(|y| YieldingStatus {
                uplink: y.uplink.to_string(),
                reason: y.reason.to_string(),
            })
            .collect(),
        serving: outlet
            .serving
            .iter()
            .map(|s| ServingStatus {
                uplink: s.uplink.to_string(),
                weight: s.weight,
                share: f64::from(s.weight) / total,
            })
            .collect(),
        preferred: outlet.is_preferred,
        last_resort: outlet.state == OutletState::LastResort,
        reason: reason(outlet, tiers.len()),
        connections: None,
        tiers,
    }
}

/// The tiers of an outlet, or of a group that no policy uses.
fn tiers(outlet: &OutletSnapshot, config: &Config) -> Vec<TierStatus> {
    let used = outlet
        .code
        .and_then(|code| config.outlets.iter().find(|o| o.code == code))
        .and_then(|o| o.outflow());
    if let Some(outflow) = used {
        let tier = |t: &OutletTier| TierStatus {
            group: t.group.clone(),
            rank: t.rank,
            uplinks: t.members.iter().map(|m| m.uplink.to_string()).collect(),
        };
        return outflow.tiers.iter().map(tier).collect();
    }
    let idle = config.groups.iter().find(|g| g.name == outlet.name);
    let tiers = idle.into_iter().flat_map(|g| g.tiers.iter().zip(1..));
    tiers
        .map(|(members, rank)| TierStatus {
            group: Some(outlet.name.clone()),
            rank,
            uplinks: members.iter().map(|m| m.uplink.to_string()).collect(),
        })
        .collect()
}

fn reason(outlet: &OutletSnapshot, tiers: usize) -> String {
    if outlet.is_preferred {
        return "somebody wants it so for a while".to_owned();
    }
    let text = match (&outlet.state, outlet.serving.is_empty()) {
        (OutletState::Default, _) => "nobody in it is up: the default group serves",
        (OutletState::Blocked, _) => "nobody in it is up: its traffic is refused",
        (OutletState::LastResort, false) => "no uplink is up; the last good choice is kept",
        (_, true) => "no uplink is usable",
        (OutletState::Tier { .. }, false) if tiers > 1 => {
            "every uplink of that tier that is up, by weight"
        }
        (OutletState::Tier { .. } | OutletState::Main, false) => {
            "every uplink that is up, by weight"
        }
    };
    if outlet.code.is_none() {
        return format!("no policy uses it; otherwise {text}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use uplinkd_core::PerFamily;
    use uplinkd_model::{Mark, Reason, TableId, UplinkName};

    use super::*;

    fn line(name: &str, family: Family, health: Health) -> LineSnapshot {
        LineSnapshot {
            name: UplinkName::new(name).unwrap(),
            interface: name.to_owned(),
            family,
            absent: false,
            health,
            reason: Reason::NoCarrier,
            since: Time::default(),
            in_service: health == Health::Up,
            weight: 1,
            share: 0.0,
            table: TableId(7001),
            mark: Mark::new(1, 1),
            all_mark: Mark::new(1, 1),
            gateway: None,
            addresses: vec![],
            prefix: None,
            deprecated: vec![],
            carrier: Some(true),
            targets: vec![],
            tcp: None,
            budget: None,
            drained: None,
            is_idle: false,
            preferred: None,
        }
    }

    fn said(lines: Vec<LineSnapshot>, last_resort: (bool, bool)) -> (State, String) {
        let picture = Snapshot {
            settled: true,
            problem: None,
            last_resort: PerFamily {
                v4: last_resort.0,
                v6: last_resort.1,
            },
            lines,
            outlets: vec![],
        };
        let lines = present(&picture);
        let state = state(&lines, &picture);
        (state, summary(state, &lines))
    }

    #[test]
    fn one_family_may_be_down_while_there_is_internet() {
        let (v4, v6) = (Family::V4, Family::V6);
        let lines = vec![
            line("isp1", v4, Health::Up),
            line("isp1", v6, Health::Down),
            line("isp2", v4, Health::Up),
            line("isp2", v6, Health::Up),
        ];
        assert_eq!(
            said(lines, (false, false)),
            (
                State::Degraded,
                "internet through isp1 and isp2 with IPv4, isp2 with IPv6; \
                 isp1 is down with IPv6: no carrier"
                    .to_owned()
            )
        );
        let lines = vec![line("isp1", v4, Health::Up), line("isp1", v6, Health::Down)];
        assert_eq!(said(lines, (false, true)).0, State::Degraded);
        let lines = vec![
            line("isp1", v4, Health::Down),
            line("isp1", v6, Health::Down),
        ];
        assert_eq!(said(lines, (true, true)).0, State::Down);
    }

    #[test]
    fn a_family_that_is_absent_changes_nothing() {
        let absent = LineSnapshot {
            absent: true,
            ..line("isp2", Family::V6, Health::Down)
        };
        let lines = vec![line("isp1", Family::V4, Health::Up), absent];
        assert_eq!(
            said(lines, (false, true)),
            (State::Up, "internet through isp1".to_owned())
        );
    }
}
