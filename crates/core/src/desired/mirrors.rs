//! Copies of rules of others that lie behind our last block, so that they are asked before the
//! default group, as they were asked before `main` without us.
//!
//! Software that adds a rule without a priority gets one just before `main` (32764, 32765 and down),
//! and so do full tunnels such as wg-quick's. Started before us, they would lose all traffic to the
//! default group.

use std::collections::BTreeSet;

use uplinkd_model::{Family, Reserve, Rule, RulePriority, TableId, kernel_state::RuleAction};

use super::Inputs;

/// Copies that there is room for in each family; rules beyond that are asked after the default group
/// only.
pub const MIRRORS_MAX: u32 = 20;
/// The priority of the kernel's own rule for `main`.
const PRIORITY_MAIN: u32 = 32766;
/// Tables that everybody has: `default`, `main`, `local`.
const TABLES_OF_ALL: std::ops::RangeInclusive<u32> = 253..=255;

pub(super) fn rules(inputs: &Inputs<'_>, family: Family) -> BTreeSet<Rule> {
    let reserve = &inputs.config.reserve;
    let tables = super::table_names(inputs.config);
    let is_used = |table: TableId| tables.contains_key(&table);
    let mut foreign: Vec<_> = inputs
        .observed
        .rules
        .iter()
        .filter(|r| r.family == family && is_mirrored(r, reserve, inputs.claims, is_used))
        .collect();
    // Rules of one priority are asked in the order in which the kernel lists them.
    foreign.sort_by_key(|r| r.priority);
    let priorities = reserve.rule_priority_last..reserve.rule_priority_last + MIRRORS_MAX;
    priorities
        .zip(foreign)
        .map(|(priority, rule)| Rule {
            priority: RulePriority(priority),
            proto: reserve.proto,
            ..rule.clone()
        })
        .collect()
}

/// Whether the core keeps a copy of a rule: somebody else's, between our last block and `main`, that
/// leads to a table of its own. `is_ours` says which tables count as ours.
pub fn is_mirrored(
    rule: &Rule,
    reserve: &Reserve,
    claims: &[Reserve],
    is_ours: impl Fn(TableId) -> bool,
) -> bool {
    let leads_elsewhere = match rule.action {
        RuleAction::Lookup(table) => !is_ours(table) && !TABLES_OF_ALL.contains(&table.0),
        RuleAction::Prohibit | RuleAction::Other => false,
    };
    let is_foreign = !claims.iter().any(|c| c.owns_rule(rule));
    is_foreign && lies_behind(rule, reserve) && leads_elsewhere && !rule.has_more
}

/// Whether a rule lies between our last block and `main`.
pub fn lies_behind(rule: &Rule, reserve: &Reserve) -> bool {
    let behind = reserve.rule_priority_last + Reserve::PRIORITIES..PRIORITY_MAIN;
    behind.contains(&rule.priority.0)
}

/// Marks that a rule of others compares as a whole word. A packet that bears one would no longer be
/// known by that rule if it got bits of ours.
pub(super) fn foreign_marks(inputs: &Inputs<'_>) -> BTreeSet<u32> {
    let rules = inputs.observed.rules.iter();
    let foreign = rules.filter(|r| !inputs.claims.iter().any(|c| c.owns_rule(r)));
    foreign
        .filter_map(|r| r.mark)
        .filter(|m| m.mask == u32::MAX && m.value != 0)
        .map(|m| m.value)
        .collect()
}
