//! The checked file, before the uplinks have their slots.

use std::{collections::BTreeMap, ops::Range};

use uplinkd_model::{Config, Gateway, Group, Member, Nat, ProbeSpec, Reserve, Uplink, UplinkName};

use crate::{diagnostic::Diagnostic, slots::Slots};

/// A value of an uplink that a message can point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Its name, in the table's header.
    Name,
    /// `interface`.
    Interface,
    /// `weight`.
    Weight,
    /// `ipv4.gateway`.
    Gateway,
    /// `ipv4.nat`.
    Nat,
    /// `probe.targets`.
    Targets,
    /// `probe.quorum`.
    Quorum,
    /// `probe.interval`.
    Interval,
    /// `probe.timeout`.
    Timeout,
    /// `probe.fall`.
    Fall,
    /// `probe.rise`.
    Rise,
}

/// A value of `[reserve]` that a message can point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReserveField {
    /// `proto`.
    Proto,
    /// `tables`.
    Tables,
    /// `rule_priority`.
    RulePriority,
    /// `rule_priority_last`.
    RulePriorityLast,
    /// `nexthop_ids`.
    NexthopIds,
    /// `mark_mask`.
    MarkMask,
    /// `nft_table`.
    NftTable,
}

/// An uplink that lacks only its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedUplink {
    /// Its name, and its table's.
    pub name: UplinkName,
    /// The interface's name.
    pub interface: String,
    /// Its share of new connections, 1 to 256.
    pub weight: u16,
    /// Where its gateway comes from (IPv4).
    pub gateway: Gateway,
    /// What becomes of source addresses (IPv4).
    pub nat: Nat,
    /// How it is watched.
    pub probe: ProbeSpec,
    /// Where the file says so; what it leaves to the default has no place.
    pub(crate) spans: BTreeMap<Field, Range<usize>>,
}

/// A file without mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub(crate) path: String,
    pub(crate) lan: Vec<(String, Range<usize>)>,
    pub(crate) uplinks: Vec<ParsedUplink>,
    pub(crate) reserve: Reserve,
    /// Where `[reserve]` stands, if it does.
    pub(crate) reserve_key: Option<Range<usize>>,
    pub(crate) reserve_spans: BTreeMap<ReserveField, Range<usize>>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Parsed {
    /// The path that the text was read from, as [`crate::parse`] was told.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Doubts that do not make the file unusable.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Interfaces whose traffic is shared out. Empty: every interface's.
    pub fn lan(&self) -> impl Iterator<Item = &str> {
        self.lan.iter().map(|(name, _)| name.as_str())
    }

    /// The uplinks, in the order of the file; at least one.
    pub fn uplinks(&self) -> &[ParsedUplink] {
        &self.uplinks
    }

    /// The numbers and names that are claimed in the kernel.
    pub fn reserve(&self) -> &Reserve {
        &self.reserve
    }

    /// The uplinks' names, in the order of the file: what [`Slots::allocate`] wants.
    pub fn names(&self) -> impl Iterator<Item = &UplinkName> {
        self.uplinks.iter().map(|u| &u.name)
    }

    /// The highest slot that the mark mask has room for. There are no more uplinks than that.
    pub fn slot_max(&self) -> u16 {
        self.reserve.slot_max()
    }

    /// Where the file gives a value of an uplink: the value itself, or the uplink's name where the
    /// value is a default. Empty and at the start of the file for uplinks that it does not have.
    pub fn span_of(&self, uplink: &UplinkName, field: Field) -> Range<usize> {
        let Some(uplink) = self.uplinks.iter().find(|u| u.name == *uplink) else {
            return 0..0;
        };
        let span = uplink.spans.get(&field).or(uplink.spans.get(&Field::Name));
        span.cloned().unwrap_or(0..0)
    }

    /// Where the file gives a value of `[reserve]`: the value itself, or the table's name where the
    /// value is a default, or else the start of the file.
    pub fn span_of_reserve(&self, field: ReserveField) -> Range<usize> {
        let span = self.reserve_spans.get(&field);
        span.or(self.reserve_key.as_ref()).cloned().unwrap_or(0..0)
    }

    /// Where the file names an interface in `lan`, if it does.
    pub fn span_of_lan(&self, interface: &str) -> Option<Range<usize>> {
        let (_, span) = self.lan.iter().find(|(name, _)| name == interface)?;
        Some(span.clone())
    }

    /// The whole of what the user asked for. Uplinks that have no slot yet get the one that
    /// [`Slots::allocate`] would give them.
    ///
    /// There is one group, `default`, with one tier of all uplinks.
    pub fn to_config(&self, slots: &Slots) -> Config {
        let mut slots = slots.clone();
        slots
            .allocate(self.names(), self.slot_max())
            .expect("the checks refuse more uplinks than slots");
        let uplink = |u: &ParsedUplink| Uplink {
            name: u.name.clone(),
            slot: slots.get(&u.name).expect("every name was given a slot"),
            interface: u.interface.clone(),
            gateway: u.gateway,
            nat: u.nat,
            probe: u.probe.clone(),
        };
        let member = |u: &ParsedUplink| Member {
            uplink: u.name.clone(),
            weight: u.weight,
        };
        Config {
            lan: self.lan().map(str::to_owned).collect(),
            uplinks: self.uplinks.iter().map(uplink).collect(),
            groups: vec![Group {
                name: Group::DEFAULT.to_owned(),
                tiers: vec![self.uplinks.iter().map(member).collect()],
            }],
            reserve: self.reserve.clone(),
        }
    }
}
