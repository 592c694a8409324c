//! The part of the policies: for each family a chain that forwarded connections go through and one
//! for the router's own, since what belongs to sockets and what belongs to interfaces never occurs in
//! both.
//!
//! A stage that is a map is in [`super::maps`], one that is a rule in [`super::conditions`].

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use uplinkd_model::{
    Family,
    classify::{Field, Stage},
};

use super::{
    Builder, FAMILIES,
    maps::{Names, check_interfaces},
};
use crate::nft::{
    RenderError,
    datatype::Datatype,
    ruleset::{Collection, StageRef, digit},
};

/// Most rules of a chain. Longer ones are cut into parts, so that a change of one policy among
/// thousands fills one part again.
const PART_RULES_MAX: usize = 64;
/// One line in so many ends a part, chosen by the line's content: a line more or less then moves the
/// end of its own part only.
const PART_RULES_USUAL: u64 = 32;

/// Who a chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Packets that came in by an interface.
    Forwarded,
    /// The router's own.
    Own,
}

impl Side {
    /// Whether packets of this side can have a field.
    pub(super) fn has(self, field: Field) -> bool {
        match field {
            Field::Interface | Field::Mac => self == Self::Forwarded,
            Field::User | Field::Group => self == Self::Own,
            Field::Source
            | Field::Destination
            | Field::Protocol
            | Field::SourcePort
            | Field::DestinationPort
            | Field::IcmpType
            | Field::Dscp => true,
        }
    }
}

impl Builder<'_> {
    /// Everything that packets are matched by.
    pub(super) fn classification(&mut self) -> Result<(), RenderError> {
        for (name, timeout) in &self.table.domains {
            for family in FAMILIES {
                let set = Collection::dynamic(vec![Datatype::Address(family)], *timeout);
                self.collection(format!("dns{}_{name}", digit(family)), set);
            }
        }
        let (mut forwarded, mut own) = (Vec::new(), Vec::new());
        forwarded.extend(self.leave_foreign());
        own.extend(self.leave_foreign());
        for family in FAMILIES {
            let digit = digit(family);
            self.family(family)?;
            forwarded.push(format!("meta nfproto ipv{digit} goto in{digit}"));
            own.push(format!("meta nfproto ipv{digit} goto own{digit}"));
        }
        self.chain("classify", forwarded);
        self.chain("classify_own", own);
        Ok(())
    }

    fn family(&mut self, family: Family) -> Result<(), RenderError> {
        let classifier = self.table.classifier.clone();
        let (mut forwarded, mut own) = (Vec::new(), Vec::new());
        let (mut names, mut count_names) = (Names::default(), Names::default());
        for stage in classifier.of(family) {
            match stage {
                Stage::Map(map) => {
                    check_interfaces(map)?;
                    let place = StageRef {
                        entries: map.entries.clone(),
                        family,
                        picked: None,
                        is_set: false,
                    };
                    let mut rules: Vec<_> = self
                        .count_rule(map, family, &mut count_names)
                        .into_iter()
                        .collect();
                    rules.extend(self.map_stage(map, &place, &mut names));
                    let is_for = |side: Side| map.fields.iter().all(|f| side.has(*f));
                    if is_for(Side::Forwarded) {
                        forwarded.extend_from_slice(&rules);
                    }
                    if is_for(Side::Own) {
                        own.extend(rules);
                    }
                }
                Stage::Rule(rule) => {
                    forwarded.extend(self.rule_stage(rule, family, Side::Forwarded)?);
                    own.extend(self.rule_stage(rule, family, Side::Own)?);
                }
            }
        }
        let default = self.table.outlets.iter().find(|o| o.mark == 0);
        let last = default
            .filter(|o| o.sticky.is_some())
            .map(|o| format!("goto outlet{}_{}", digit(family), o.code));
        for (name, rules) in [("in", forwarded), ("own", own)] {
            let name = format!("{name}{}", digit(family));
            let mut rules = self.in_parts(&name, rules);
            rules.extend(last.clone());
            self.chain(name, rules);
        }
        Ok(())
    }

    /// Cuts a long chain into parts, and returns the rules that lead to them.
    fn in_parts(&mut self, name: &str, rules: Vec<String>) -> Vec<String> {
        if rules.len() <= PART_RULES_MAX {
            return rules;
        }
        let (mut jumps, mut part) = (Vec::new(), Vec::new());
        let mut ends: BTreeMap<u64, u32> = BTreeMap::new();
        let mut rules = rules.into_iter().peekable();
        while let Some(rule) = rules.next() {
            let is_last = rules.peek().is_none();
            // Not by where it leads, so that a policy which leads elsewhere moves no end.
            let matched = rule
                .rsplit_once(" goto ")
                .map_or(&*rule, |(matched, _)| matched);
            let mut hasher = DefaultHasher::new();
            matched.hash(&mut hasher);
            let end = hasher.finish();
            part.push(rule);
            if end.is_multiple_of(PART_RULES_USUAL) || part.len() == PART_RULES_MAX || is_last {
                // Named by its end, so that another rule within it changes nothing but its content.
                let chain = if is_last {
                    format!("{name}_last")
                } else {
                    let count = ends.entry(end).or_insert(0);
                    *count += 1;
                    format!("{name}_{end:016x}_{count}")
                };
                jumps.push(format!("jump {chain}"));
                self.chain(chain, std::mem::take(&mut part));
            }
        }
        jumps
    }
}
