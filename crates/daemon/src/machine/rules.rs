//! Rules of others, by where they lie: before ours, between them, behind them.

use std::collections::BTreeMap;

use uplinkd_config::{Diagnostic, Parsed, ReserveField};
use uplinkd_core::desired::{MIRRORS_MAX, is_mirrored, lies_behind};
use uplinkd_model::{Family, Observed, Reserve, Rule, kernel_state::RuleAction};

use super::{Problem, is_ours};

/// Looks at each rule of somebody else. `claims` begins with the reserve in force.
pub(super) fn rules(
    found: &mut Vec<Problem>,
    parsed: &Parsed,
    claims: &[Reserve],
    observed: &Observed,
) {
    let Some(reserve) = claims.first() else {
        return;
    };
    let is_our_table = |table| claims.iter().any(|c| c.has_table(table));
    let mut copies: BTreeMap<Family, u32> = BTreeMap::new();
    let mut foreign: Vec<_> = observed
        .rules
        .iter()
        .filter(|r| !is_ours(claims, r))
        .collect();
    foreign.sort_by_key(|r| (r.priority, r.family));
    for rule in foreign {
        let shown = format!("{} {rule}", rule.family.flag());
        let finding = if is_earlier(rule, reserve) {
            Diagnostic::warning(
                parsed.span_of_reserve(ReserveField::RulePriority),
                format!("a rule of somebody else is asked before ours: {shown}"),
            )
            .hint("what its table routes never reaches us; give it a priority above reserve.rule_priority")
        } else if reserve.has_priority(rule.priority) {
            between(parsed, reserve, &shown)
        } else if is_mirrored(rule, reserve, claims, is_our_table) {
            let copied = copies.entry(rule.family).or_default();
            *copied += 1;
            behind(parsed, reserve, &shown, *copied <= MIRRORS_MAX)
        } else if lies_behind(rule, reserve) && rule.has_more {
            behind(parsed, reserve, &shown, false)
        } else {
            continue;
        };
        found.push(Problem::local(finding));
    }
}

/// It takes everything before we are asked.
fn is_earlier(rule: &Rule, reserve: &Reserve) -> bool {
    let takes_all = rule.from.is_none()
        && rule.to.is_none()
        && rule.iif.is_none()
        && rule.oif.is_none()
        && rule.mark.is_none()
        && !rule.has_more
        && rule.suppress_prefix_length.is_none();
    let is_local = rule.priority.0 == 0;
    let is_early = rule.priority.0 < reserve.rule_priority;
    is_early && !is_local && takes_all && rule.action != RuleAction::Other
}

/// A rule that was added without a priority lands just before the lowest one there is, and other
/// software counts on numbers of its own.
fn between(parsed: &Parsed, reserve: &Reserve, shown: &str) -> Diagnostic {
    let last = |first: u32| first + Reserve::PRIORITIES - 1;
    Diagnostic::warning(
        parsed.span_of_reserve(ReserveField::RulePriority),
        format!("a rule of somebody else lies between ours: {shown}"),
    )
    .hint(format!(
        "it takes traffic from those of ours that come after it; give it a priority outside {}-{} \
         and {}-{}, or move ours with reserve.rule_priority and reserve.rule_priority_last",
        reserve.rule_priority,
        last(reserve.rule_priority),
        reserve.rule_priority_last,
        last(reserve.rule_priority_last),
    ))
}

fn behind(parsed: &Parsed, reserve: &Reserve, shown: &str, is_copied: bool) -> Diagnostic {
    let span = parsed.span_of_reserve(ReserveField::RulePriorityLast);
    if is_copied {
        return Diagnostic::warning(
            span,
            format!("a rule of somebody else lies behind ours: {shown}"),
        )
        .hint(
            "uplinkd keeps a copy of it before what policies and the default group decide, so its \
             traffic goes where it goes without uplinkd",
        );
    }
    Diagnostic::warning(
        span,
        format!("a rule of somebody else lies behind ours and cannot be copied: {shown}"),
    )
    .hint(format!(
        "the default group takes its traffic first; give it a priority below {}",
        reserve.rule_priority_last
    ))
}
