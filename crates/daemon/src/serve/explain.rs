//! Answers `uplinkctl explain`: the core's reasons, and beside them what the kernel says itself.

use std::{collections::BTreeSet, net::IpAddr};

use uplinkd_api::{
    ApiError, Decision as ApiDecision, DecisionKind, Explain, ExplainPolicy, ExplainQuery,
    ExplainStep, ExplainUplink, KernelSays,
};
use uplinkd_core::{
    Controller, LineSnapshot, OutletState,
    explain::{Decision, Exit, ExplainedStep, Flow, PolicyAnswer, Verdict},
};
use uplinkd_kernel::{Kernel, RouteAnswer, RouteKind, RouteQuery};
use uplinkd_model::{Config, TableId, UplinkName};

use crate::resolver;
use uplinkd_web::Refused;

/// Where a new connection would go.
///
/// # Errors
/// Where it speaks of uplinks that there are not.
pub(crate) fn explain(
    controller: &Controller,
    kernel: &mut Kernel,
    query: ExplainQuery,
) -> Result<Explain, Refused> {
    let if_down = uplinks(controller.config(), &query.if_down)?;
    let asked = kernel.route_get(question(controller, &query, query.mark.unwrap_or(0)));
    if let Ok(answer) = &asked
        && answer.kind == RouteKind::Local
    {
        return Ok(local(query, says(controller.config(), answer)));
    }
    let flow = Flow {
        domain_sets: domain_sets(controller.config(), kernel, &query),
        if_down,
        ..flow(&query)
    };
    // Asked without a mark of ours: whether `main` leads there is the first question, and policies
    // that leave something to `main` come later.
    let explanation = controller.explain(&flow, asked.as_ref().ok().map(|a| a.table));
    let outlet_mark = match explanation.policy.verdict() {
        Some(Verdict::Policy { code, .. }) => controller.config().reserve.mark_outlet(*code).value,
        Some(Verdict::Default | Verdict::Depends { .. }) | None => 0,
    };
    let kernel_says = if !query.if_down.is_empty() {
        None
    } else if outlet_mark == 0 {
        asked.ok().map(|a| says(controller.config(), &a))
    } else {
        let mark = flow.mark | outlet_mark;
        let answer = kernel.route_get(question(controller, &query, mark));
        answer.ok().map(|a| says(controller.config(), &a))
    };
    let remembered = remembered(controller, kernel, &explanation.decision, &flow);
    Ok(assemble(
        controller.config(),
        query,
        Some(&explanation.policy),
        &explanation.steps,
        explanation.decision,
        remembered,
        kernel_says,
    ))
}

/// The uplinks of these names.
pub(super) fn uplinks(config: &Config, words: &[String]) -> Result<Vec<UplinkName>, Refused> {
    let known = |word: &String| {
        UplinkName::new(word)
            .ok()
            .filter(|name| config.uplink(name).is_some())
            .ok_or_else(|| {
                let names: Vec<_> = config.uplinks.iter().map(|u| u.name.as_str()).collect();
                Refused::Bad(
                    ApiError::new(format!("there is no uplink {word:?}"))
                        .with_hint(format!("there are: {}", names.join(", "))),
                )
            })
    };
    words.iter().map(known).collect()
}

fn flow(query: &ExplainQuery) -> Flow {
    let family = query.family();
    let icmp = query.icmp.map(|_| uplinkd_api::Protocol::ICMP);
    Flow {
        from: query.from,
        iif: query.iif.clone(),
        mark: query.mark.unwrap_or(0),
        protocol: query.protocol.or(icmp).map(|p| p.number(family)),
        source_port: query.sport,
        destination_port: query.dport,
        icmp_type: query.icmp.map(|t| t.number(family)),
        mac: query.mac.map(|m| m.number()),
        dscp: query.dscp,
        user: query.uid,
        group: query.gid,
        cgroup: query.cgroup.clone(),
        ..Flow::to(query.to)
    }
}

/// The sets that hold the destination: those that the kernel says, and those of the names that it is
/// said to have. None where the kernel does not say.
pub(super) fn domain_sets(
    config: &Config,
    kernel: &mut Kernel,
    query: &ExplainQuery,
) -> Option<BTreeSet<String>> {
    let mut wanted = resolver::domains(config);
    let first = wanted.next()?;
    let held = kernel.domain_sets_holding(&config.reserve.nft_table, query.to);
    if query.domains.is_empty() {
        return held.ok();
    }
    let mut sets = held.unwrap_or_default();
    for (names, set) in std::iter::once(first).chain(wanted) {
        let lies_below = |domain: &String, name: &String| {
            domain == name
                || domain
                    .strip_suffix(name.as_str())
                    .is_some_and(|before| before.ends_with('.'))
        };
        let is_of = |domain: &String| names.iter().any(|name| lies_below(domain, name));
        if query.domains.iter().any(is_of) {
            sets.insert(set.to_owned());
        }
    }
    Some(sets)
}

fn question(controller: &Controller, query: &ExplainQuery, mark: u32) -> RouteQuery {
    RouteQuery {
        source: query.from,
        protocol: query.protocol.map(|p| p.number(query.family())),
        source_port: query.sport,
        dest_port: query.dport,
        iif: incoming(controller, query.iif.as_ref(), query.from),
        mark,
        uid: query.uid,
        ..RouteQuery::to(query.to)
    }
}

/// The interface to ask the kernel with: a forwarded packet needs one, the router's own must have none.
pub(super) fn incoming(
    controller: &Controller,
    iif: Option<&String>,
    from: Option<IpAddr>,
) -> Option<String> {
    match (iif, from) {
        (Some(iif), _) => Some(iif.clone()).filter(|i| i != "lo"),
        (None, Some(from)) if !controller.has_address(from) => {
            controller.config().lan.first().cloned()
        }
        (None, _) => None,
    }
}

/// The kernel's answer in the words of the API.
///
/// For IPv6 its word about the table counts for tables of others only: it remembers the route that
/// was last used with a nexthop object, and several tables of ours share one.
pub(super) fn says(config: &Config, answer: &RouteAnswer) -> KernelSays {
    let is_certain =
        answer.gateway.is_none_or(|g| g.is_ipv4()) || !config.reserve.has_table(answer.table);
    KernelSays {
        device: Some(answer.device.clone()),
        gateway: answer.gateway,
        source: answer.source,
        table: is_certain.then_some(answer.table.0),
    }
}

/// The uplink that such connections were given before and keep, with its address, where the outlet
/// remembers that.
fn remembered(
    controller: &Controller,
    kernel: &mut Kernel,
    decision: &Decision,
    flow: &Flow,
) -> Option<Exit> {
    let config = controller.config();
    let (name, from) = match decision {
        Decision::Outlet {
            outlet,
            sticky: Some(_),
            ..
        } => (outlet, flow.from?),
        Decision::Outlet { sticky: None, .. }
        | Decision::Main
        | Decision::Uplink(_)
        | Decision::Blocked { .. }
        | Decision::Foreign { .. }
        | Decision::Depends { .. }
        | Decision::NotOurs => return None,
    };
    let outlet = config.outlets.iter().find(|o| o.name == *name)?;
    let slots = kernel
        .sticky_choices(&config.reserve.nft_table, outlet.code, from, flow.to)
        .ok()?;
    let chosen = config.uplinks.iter().find(|u| slots.contains(&u.slot.0))?;
    let is_line = |l: &LineSnapshot| l.name == chosen.name && l.family == flow.family();
    let line = controller.snapshot().lines.into_iter().find(is_line)?;
    let nat = controller.nat_address(&chosen.name, flow);
    let serves = line.in_service && !flow.if_down.contains(&chosen.name);
    serves.then(|| Exit {
        uplink: chosen.name.clone(),
        nat,
    })
}

fn local(query: ExplainQuery, kernel_says: KernelSays) -> Explain {
    let text = format!("{} is an address of this router", query.to);
    Explain {
        query,
        policies: Vec::new(),
        policies_before: 0,
        policies_not_asked: None,
        steps: Vec::new(),
        decision: plain(DecisionKind::Local),
        kernel_says: Some(kernel_says),
        text,
    }
}

/// The whole answer. `remembered` is the uplink that the connection keeps to, whatever the shares.
pub(super) fn assemble(
    config: &Config,
    query: ExplainQuery,
    policy: Option<&PolicyAnswer>,
    steps: &[ExplainedStep],
    decision: Decision,
    remembered: Option<Exit>,
    kernel_says: Option<KernelSays>,
) -> Explain {
    let (policies, policies_before, policies_not_asked) = policy.map(trace).unwrap_or_default();
    let by = policies
        .iter()
        .find(|p| p.matched)
        .map(|p| p.policy.clone());
    let mut text = sentence(config, &decision, by.as_deref());
    let mut decision = ApiDecision {
        policy: by,
        ..described(decision)
    };
    if let Some(exit) = remembered {
        text += &format!("; it keeps to {}, which it was given before", exit.uplink);
        decision.uplinks = vec![leaving_by(exit, 1.0)];
    }
    Explain {
        query,
        policies,
        policies_before,
        policies_not_asked,
        steps: steps
            .iter()
            .map(|s| ExplainStep {
                rule: s.rule.clone(),
                matched: s.matched,
                why: s.why.clone(),
            })
            .collect(),
        decision,
        kernel_says,
        text,
    }
}

/// The policies that were asked, how many more before these, and why none was.
fn trace(answer: &PolicyAnswer) -> (Vec<ExplainPolicy>, usize, Option<String>) {
    let (passed, more, verdict) = match answer {
        PolicyAnswer::NotAsked { why } => return (Vec::new(), 0, Some(why.clone())),
        PolicyAnswer::Asked {
            passed,
            more,
            verdict,
        } => (passed, *more, verdict),
    };
    let mut policies: Vec<_> = passed
        .iter()
        .map(|p| ExplainPolicy {
            policy: p.policy.clone(),
            matched: false,
            why: match &p.clause {
                Some(clause) => format!("does not hold: {clause}"),
                None => "it does not take it".to_owned(),
            },
        })
        .collect();
    match verdict {
        Verdict::Policy {
            policy,
            clauses,
            outlet,
            ..
        } => {
            let holds = if clauses.is_empty() {
                "it takes everything".to_owned()
            } else {
                format!("holds: {}", clauses.join("; "))
            };
            policies.push(ExplainPolicy {
                policy: policy.clone(),
                matched: true,
                why: format!("{holds}; it uses {outlet}"),
            });
        }
        Verdict::Default => {}
        Verdict::Depends { policy, on, clause } => policies.push(ExplainPolicy {
            policy: policy.clone(),
            matched: false,
            why: match clause {
                Some(clause) => format!("depends on {on}: {clause}"),
                None => format!("depends on {on}"),
            },
        }),
    }
    (policies, more, None)
}

fn plain(kind: DecisionKind) -> ApiDecision {
    ApiDecision {
        kind,
        table: None,
        policy: None,
        group: None,
        tier: None,
        uplinks: Vec::new(),
        last_resort: false,
    }
}

fn leaving_by(exit: Exit, share: f64) -> ExplainUplink {
    ExplainUplink {
        uplink: exit.uplink.to_string(),
        share,
        nat_address: exit.nat,
    }
}

fn described(decision: Decision) -> ApiDecision {
    match decision {
        Decision::Main => ApiDecision {
            table: Some(TableId::MAIN.0),
            ..plain(DecisionKind::Main)
        },
        Decision::NotOurs => plain(DecisionKind::Foreign),
        Decision::Foreign { table } => ApiDecision {
            table: Some(table.0),
            ..plain(DecisionKind::Foreign)
        },
        Decision::Depends { policy, .. } => ApiDecision {
            policy: Some(policy),
            ..plain(DecisionKind::Depends)
        },
        Decision::Blocked { outlet } => ApiDecision {
            group: Some(outlet),
            ..plain(DecisionKind::Blocked)
        },
        Decision::Uplink(exit) => ApiDecision {
            uplinks: vec![leaving_by(exit, 1.0)],
            ..plain(DecisionKind::Uplink)
        },
        Decision::Outlet {
            outlet,
            table,
            state,
            exits,
            sticky: _,
        } => ApiDecision {
            table: Some(table.0),
            group: Some(outlet),
            tier: match state {
                OutletState::Tier { index, .. } => Some(index + 1),
                OutletState::LastResort
                | OutletState::Default
                | OutletState::Blocked
                | OutletState::Main => None,
            },
            uplinks: exits
                .into_iter()
                .map(|(exit, share)| leaving_by(exit, share))
                .collect(),
            last_resort: state == OutletState::LastResort,
            ..plain(DecisionKind::Group)
        },
    }
}

fn sentence(config: &Config, decision: &Decision, policy: Option<&str>) -> String {
    let as_address = |exit: &Exit| {
        exit.nat
            .map(|nat| format!(" (as {nat})"))
            .unwrap_or_default()
    };
    let by = policy.map_or_else(String::new, |p| format!("policy {p}: "));
    match decision {
        Decision::Main if policy.is_some() => format!("{by}left to the main table"),
        Decision::Main => "a connected or specific route of the main table leads there".to_owned(),
        Decision::NotOurs => {
            "nothing of ours applies; other rules and the main table decide".to_owned()
        }
        Decision::Foreign { table } => {
            format!("somebody else's rule comes first: their table {table} decides")
        }
        Decision::Depends { policy, on } => {
            format!("it depends on {on}, which policy {policy} looks at")
        }
        Decision::Blocked { outlet } => format!("{by}refused at once ({outlet})"),
        Decision::Uplink(exit) => format!("{by}leaves by {}{}", exit.uplink, as_address(exit)),
        Decision::Outlet {
            outlet,
            exits,
            state,
            ..
        } => {
            let ways: Vec<_> = exits
                .iter()
                .map(|(e, share)| format!("{}{} {:.0} %", e.uplink, as_address(e), share * 100.0))
                .collect();
            let how = match state {
                OutletState::LastResort => ", kept as the last good choice".to_owned(),
                OutletState::Tier { index, .. } if *index > 0 => format!(", tier {}", index + 1),
                OutletState::Tier { .. }
                | OutletState::Default
                | OutletState::Blocked
                | OutletState::Main => String::new(),
            };
            let outlet = config.outlets.iter().find(|o| o.name == *outlet);
            let group = outlet.and_then(|o| o.outflow()?.group.as_ref());
            let ways = ways.join(", ");
            match group {
                Some(group) => format!("{by}group {group}{how}: {ways}"),
                None => format!("{by}leaves by {ways}{how}"),
            }
        }
    }
}
