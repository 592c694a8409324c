//! A policy's rule in nft's words.
//!
//! In nft a statement about something that a packet does not have ends the rule, also where it is
//! negated. A negation that must hold there too is therefore written the other way round: in a chain
//! of its own, which what is forbidden returns from.

use std::collections::BTreeMap;

use uplinkd_model::{
    Family,
    classify::{Condition, Field, RuleStage, interface_number, number_interface},
    ids::Mark,
    policy::{Span, Spans},
};

use super::{Builder, classify::Side, name_of};
use crate::{
    cgroup,
    nft::{
        RenderError,
        datatype::{Datatype, expression},
        ruleset::{Collection, Elements, TargetRef, digit},
    },
};

/// Most values that are written into the rule itself; more go into a set with a name, which rules
/// with the same values share and whose elements can be sent without nft.
const INLINE_VALUES_MAX: usize = 16;

/// What a condition becomes.
enum Clause {
    /// It always holds there.
    Always,
    /// It never holds there.
    Never,
    /// A statement.
    Is(String),
    /// One of these statements.
    Either(Vec<String>),
    /// None of these statements, and what they speak of may be missing.
    Unless(Vec<String>),
}

impl Builder<'_> {
    /// The rules of one of a policy's: none where it cannot hold, several where nft has no `or`.
    pub(super) fn rule_stage(
        &mut self,
        rule: &RuleStage,
        family: Family,
        side: Side,
    ) -> Result<Vec<String>, RenderError> {
        let mut ways = vec![Vec::new()];
        let (mut unless, mut finish) = (Vec::new(), Vec::new());
        for condition in &rule.conditions {
            match self.clause(condition, family, side)? {
                Clause::Always => {}
                Clause::Never => return Ok(Vec::new()),
                Clause::Is(statement) => ways.iter_mut().for_each(|w| w.push(statement.clone())),
                Clause::Either(statements) => {
                    let one_more = |way: &Vec<String>| {
                        let way = way.clone();
                        statements
                            .iter()
                            .map(move |s| [way.clone(), vec![s.clone()]].concat())
                            .collect::<Vec<_>>()
                    };
                    ways = ways.iter().flat_map(one_more).collect();
                }
                Clause::Unless(statements) => unless.extend(statements),
            }
            if let Condition::Domain { set, not: false } = condition {
                // An address in use does not expire.
                let daddr = expression(Field::Destination, family);
                finish.push(format!("update @dns{}_{set} {{ {daddr} }}", digit(family)));
            }
        }
        if let Some(counter) = self.counter_of(rule.policy) {
            finish.push(format!("counter name {counter}"));
        }
        finish.push(TargetRef::Outlet(family, rule.outlet).to_string());
        if !unless.is_empty() {
            let mut rules: Vec<_> = unless.iter().map(|u| format!("{u} return")).collect();
            rules.push(finish.join(" "));
            let chain = format!("unless_{}", name_of(&rules));
            finish = vec![format!("jump {chain}")];
            self.chain(chain, rules);
        }
        let lines = ways
            .into_iter()
            .map(|way| [way, finish.clone()].concat().join(" "));
        Ok(lines.collect())
    }

    fn clause(
        &mut self,
        condition: &Condition,
        family: Family,
        side: Side,
    ) -> Result<Clause, RenderError> {
        Ok(match condition {
            Condition::Among { field, values } if values.is_empty() || !side.has(*field) => {
                Clause::Never
            }
            Condition::Among { field, values } if holds_for_all(*field, values, family) => {
                Clause::Always
            }
            Condition::Among { field, values } => {
                if *field == Field::Interface {
                    for span in values.as_slice() {
                        super::check_interface(&number_interface(span.first))?;
                    }
                }
                Clause::Is(self.among(*field, family, values))
            }
            Condition::NotInterface(names) => self.not_interface(names, side)?,
            Condition::NotMac(values) => self.unless(Field::Mac, family, values, side),
            Condition::NotUser(values) => self.unless(Field::User, family, values, side),
            Condition::NotGroup(values) => self.unless(Field::Group, family, values, side),
            Condition::Mark { any_of, not } => mark(any_of, *not),
            Condition::Domain { set, not } => {
                if !self.table.domains.contains_key(set) {
                    return Err(RenderError::Set(set.clone()));
                }
                let daddr = expression(Field::Destination, family);
                let unequal = if *not { "!= " } else { "" };
                Clause::Is(format!("{daddr} {unequal}@dns{}_{set}", digit(family)))
            }
            Condition::Cgroup { any_of, not } => self.cgroup(any_of, *not, side),
        })
    }

    /// That a field's value is among these.
    pub(super) fn among(&mut self, field: Field, family: Family, values: &Spans) -> String {
        let (datatype, expression) = (Datatype::of(field, family), expression(field, family));
        let spans = values.as_slice();
        let words: Vec<String> = if field == Field::Dscp {
            // nft 1.0.6 turns single code points around, for the place where they lie in the header,
            // but not ranges of them.
            let single = spans.iter().flat_map(|s| s.first..=s.last.min(63));
            single.map(|v| datatype.word(v).to_string()).collect()
        } else if spans.len() > INLINE_VALUES_MAX {
            return format!("{expression} @{}", self.values(datatype, values));
        } else {
            spans.iter().map(|s| datatype.words(s)).collect()
        };
        match words.as_slice() {
            [one] => format!("{expression} {one}"),
            many => format!("{expression} {{ {} }}", many.join(", ")),
        }
    }

    fn not_interface(&mut self, names: &[String], side: Side) -> Result<Clause, RenderError> {
        if names.is_empty() || side == Side::Own {
            return Ok(Clause::Always);
        }
        names
            .iter()
            .try_for_each(|name| super::check_interface(name))?;
        let spans = names.iter().map(|n| Span::one(interface_number(n)));
        // Every packet that came in did so by an interface.
        let among = self.among(Field::Interface, Family::V4, &Spans::new(spans));
        Ok(Clause::Is(among.replacen("iifname ", "iifname != ", 1)))
    }

    fn unless(&mut self, field: Field, family: Family, values: &Spans, side: Side) -> Clause {
        if values.is_empty() || !side.has(field) {
            return Clause::Always;
        }
        Clause::Unless(vec![self.among(field, family, values)])
    }

    /// Control groups are known by number, and asked for at the level where they are. The set is
    /// named by the paths: a group that comes or goes changes elements only.
    fn cgroup(&mut self, any_of: &[String], not: bool, side: Side) -> Clause {
        if side == Side::Forwarded {
            return if not { Clause::Always } else { Clause::Never };
        }
        let mut levels: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for path in any_of {
            let paths = levels.entry(cgroup::level(path)).or_default();
            paths.push(path.clone());
        }
        let mut statements = Vec::new();
        for (level, paths) in levels {
            let numbers = paths.iter().filter_map(|p| self.table.cgroups.get(p));
            let keys = numbers.map(|n| (vec![Span::one(*n)], None)).collect();
            let set = Collection::set(vec![Datatype::Cgroup], Elements::Listed(keys));
            let name = format!("cgroups_{}", name_of(&paths));
            self.collection(name.clone(), set);
            statements.push(format!("socket cgroupv2 level {level} @{name}"));
        }
        if not {
            Clause::Unless(statements)
        } else {
            Clause::Either(statements)
        }
    }
}

/// Whether every packet's value is among these, so that nobody need look.
fn holds_for_all(field: Field, values: &Spans, family: Family) -> bool {
    match field {
        Field::Source | Field::Destination | Field::Protocol | Field::Dscp => {
            let all = Span::new(0_u32, field.max(family));
            values.as_slice() == [all]
        }
        Field::Interface
        | Field::Mac
        | Field::SourcePort
        | Field::DestinationPort
        | Field::IcmpType
        | Field::User
        | Field::Group => false,
    }
}

/// Marks are looked at under their masks: one look-up for each mask.
fn mark(any_of: &[Mark], not: bool) -> Clause {
    if any_of.iter().any(|m| m.mask == 0) {
        return if not { Clause::Never } else { Clause::Always };
    }
    let mut by_mask: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for mark in any_of {
        let values = by_mask.entry(mark.mask).or_default();
        values.push(format!("{:#010x}", mark.value));
    }
    let unequal = if not { "!= " } else { "" };
    let statement = |(mask, values): (u32, Vec<String>)| {
        let masked = match mask {
            u32::MAX => "meta mark".to_owned(),
            part => format!("meta mark and {part:#010x}"),
        };
        match values.as_slice() {
            [one] if not => format!("{masked} != {one}"),
            [one] => format!("{masked} == {one}"),
            many => format!("{masked} {unequal}{{ {} }}", many.join(", ")),
        }
    };
    let mut statements: Vec<String> = by_mask.into_iter().map(statement).collect();
    match (statements.len(), not) {
        (0, true) => Clause::Always,
        (0, false) => Clause::Never,
        // None of them: all of these statements.
        (_, true) => Clause::Is(statements.join(" ")),
        (1, false) => Clause::Is(statements.remove(0)),
        (_, false) => Clause::Either(statements),
    }
}
