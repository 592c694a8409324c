//! Where each outlet leads, by the kernel's own rules and tables, after everything that happens.
//!
//! - What a strict policy takes leaves by a line of its outlet or not at all.
//! - While an outlet has a line that is in service and in place, its new connections have a way, and
//!   it is the outlet's own.
//! - They go by the tier that serves, not by a better one that still waits.

use std::collections::BTreeMap;

use uplinkd_core::Time;
use uplinkd_model::{Config, Family, TableId, nft::NftTable};

use super::{World, traffic::new_packet};
use crate::{
    kernel::{Answer, Direction, Fate, Packet},
    reference::{Layout, LayoutKind},
    scenario::FAMILIES,
};

/// Where new connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// They are told that somebody does not want them.
    Refused,
    /// The network is unreachable.
    Nowhere,
    /// By a table, over these lines with their weights.
    By {
        /// The table that answered.
        table: TableId,
        /// The lines, with their weights, in order.
        lines: Vec<(usize, u16)>,
    },
}

/// What is remembered of all outlets, by code.
#[derive(Debug, Default)]
pub(super) struct Ways {
    outlets: BTreeMap<(u16, Family), Way>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// It was settled once, and no rival has touched it since.
    is_established: bool,
    /// The tier that kernel and daemon were last agreed upon.
    steady: Option<usize>,
    bad_since: Option<Time>,
}

impl World {
    /// Where new connections of an outlet go.
    pub(crate) fn exit(&self, code: u16, family: Family) -> Exit {
        let mark = self.scenario.config.reserve.mark_outlet(code).value;
        self.exit_of(&new_packet(Direction::Lan, family, mark))
    }

    /// Where the kernel leads a packet.
    pub(crate) fn exit_of(&self, packet: &Packet<'_>) -> Exit {
        match self.kernel.fate(packet) {
            Fate::Refused => Exit::Refused,
            Fate::Nowhere => Exit::Nowhere,
            Fate::By(answer) => Exit::By {
                table: answer.table,
                lines: self.lines_by(&answer, Family::of(packet.to)),
            },
        }
    }

    pub(crate) fn lines_by(&self, answer: &Answer, family: Family) -> Vec<(usize, u16)> {
        let ways = answer.ways.iter();
        let mut lines: Vec<_> = ways
            .filter_map(|w| Some((self.line_by(w, family)?, w.weight)))
            .collect();
        lines.sort_unstable();
        lines
    }

    /// A rival touched what is ours.
    pub(super) fn ways_tampered(&mut self) {
        self.ways.outlets.clear();
    }

    /// Something happened to a line: which tier the kernel must use has to be agreed upon anew.
    pub(super) fn ways_struck(&mut self) {
        self.ways.outlets.values_mut().for_each(|w| w.steady = None);
    }

    pub(super) fn ways_after_reload(&mut self, before: &Config) {
        let config = &self.scenario.config;
        let has = |config: &Config, code| config.outlets.iter().any(|o| o.code == code);
        self.ways
            .outlets
            .retain(|(code, _), _| has(before, *code) && has(config, *code));
        self.ways_struck();
    }

    /// What was led to a strict outlet must not leave by other lines.
    pub(super) fn judge_leak(
        &self,
        code: u16,
        family: Family,
        lines: &[usize],
        what: &str,
    ) -> Result<(), String> {
        let layouts = self.layouts.iter().map(|l| l.of(family));
        let Some(layout) = layouts.into_iter().find(|l| l.code == code) else {
            return Ok(());
        };
        // Until our nft table has it, nothing has been promised to anybody.
        let is_known = |t: &NftTable| t.outlets.iter().any(|o| o.code == code);
        let is_marked = self.kernel.nft().is_some_and(is_known);
        if !is_marked || !layout.is_strict() || self.now() < self.watch.shielded_until {
            return Ok(());
        }
        let earlier = self.earlier.iter().map(|l| l.of(family));
        let allowed: Vec<_> = earlier.filter(|l| l.code == code).chain([layout]).collect();
        let leaks = lines.iter().find(|l| !allowed.iter().any(|a| a.has(**l)));
        match leaks {
            Some(line) => Err(format!(
                "{what} of the strict outlet {} ({family}) leaves by line {line}",
                layout.name
            )),
            None => Ok(()),
        }
    }

    pub(super) fn check_outlets(&mut self) -> Result<(), String> {
        for index in 0..self.layouts.len() {
            for family in FAMILIES {
                let layout = self.layouts[index].of(family).clone();
                let exit = self.exit(layout.code, family);
                self.check_outlet(index, family, &layout, &exit)
                    .map_err(|what| format!("outlet {} ({family}): {what}", layout.name))?;
            }
        }
        Ok(())
    }

    fn check_outlet(
        &mut self,
        index: usize,
        family: Family,
        layout: &Layout,
        exit: &Exit,
    ) -> Result<(), String> {
        self.judge_leak(layout.code, family, &exit.lines(), "a new connection")?;
        let (now, tier) = (self.now(), self.said.tier(index, family));
        let works = |l: usize| self.net.has_link(&self.kernel, l);
        let serves = |l: usize| self.said.takes_new(l);
        let preferred = self.said.preferred(index, family);
        let own = self.scenario.config.reserve.table_outlet(layout.code);
        let lines = exit.lines();
        let is_own = matches!(exit, Exit::By { table, .. } if *table == own);
        let is_shielded = now < self.watch.shielded_until;
        let key = (layout.code, family);
        let mut way = self.ways.outlets.get(&key).copied().unwrap_or_default();

        let is_settled = self.daemon.is_some() && self.said.settled && !is_shielded;
        if !matches!(layout.kind, LayoutKind::Uplinks(_)) {
            way.is_established |= is_settled;
            self.ways.outlets.insert(key, way);
            return Ok(());
        }
        let mut chain = layout.tiers.iter().flatten().map(|(line, _)| *line);
        let earlier = self.earlier.iter().map(|l| l.of(family));
        let was_there = |line| {
            let mut same = earlier.clone().filter(|l| l.code == layout.code);
            same.all(|l| l.has(line))
        };
        let entered = |l: usize| self.said.entered[l] && serves(l);
        let promised = |l: usize| self.watch.installed[l] && entered(l) && works(l) && was_there(l);
        if let Some(line) = chain.find(|l| promised(*l))
            && way.is_established
            && !is_shielded
            && !(is_own && lines.iter().all(|l| works(*l) || !self.watch.installed[*l]))
        {
            return Err(format!(
                "line {line} is in service, but new connections find {exit:?}"
            ));
        }
        way.steady = way
            .steady
            .filter(|t| tier == Some(*t) && preferred.is_none());
        let in_tier = |t: usize, line| layout.any(t, |l| l == line);
        if let Some(steady) = way.steady.filter(|_| !is_shielded)
            && layout.any(steady, |l| {
                self.watch.installed[l] && entered(l) && works(l)
            })
            && lines.iter().any(|l| !in_tier(steady, *l) && works(*l))
        {
            return Err(format!(
                "tier {steady} serves, but new connections find {exit:?}"
            ));
        }
        let is_awake = self.daemon.as_ref().is_some_and(|d| d.has_looked);
        let is_bad = tier.is_some_and(|tier| {
            let strays = |l: &usize| match preferred {
                Some(preferred) => *l != preferred,
                None => !serves(*l) || !in_tier(tier, *l),
            };
            layout.any(tier, |l| serves(l) && works(l)) && (!is_own || lines.iter().any(strays))
        });
        way.bad_since = (is_awake && is_bad).then(|| way.bad_since.unwrap_or(now));
        if is_settled {
            way.is_established = true;
            way.steady = tier.filter(|_| !is_bad && preferred.is_none());
        }
        self.ways.outlets.insert(key, way);
        Ok(())
    }

    /// New connections must not for long go other ways than the daemon means them to.
    pub(super) fn check_lateness(&self) -> Result<(), String> {
        let (now, late) = (self.now(), self.lateness());
        let disturbed = self.watch.disturbed_until;
        for ((code, family), way) in &self.ways.outlets {
            let since = way.bad_since.map(|since| since.max(disturbed));
            if since.is_some_and(|since| now.since(since) > late) {
                return Err(format!(
                    "for {late:?} new connections of outlet {code} ({family}) find {:?}, while {:?} are in service",
                    self.exit(*code, *family),
                    self.said.in_service
                ));
            }
        }
        Ok(())
    }
}

impl Exit {
    /// The table that leads there.
    pub(crate) fn table(&self) -> Option<TableId> {
        match self {
            Self::Refused | Self::Nowhere => None,
            Self::By { table, .. } => Some(*table),
        }
    }

    /// The lines.
    pub(crate) fn lines(&self) -> Vec<usize> {
        match self {
            Self::Refused | Self::Nowhere => Vec::new(),
            Self::By { lines, .. } => lines.iter().map(|(line, _)| *line).collect(),
        }
    }
}
