//! The checked file, before the uplinks have their slots.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use uplinkd_model::{
    Access, Budget, Config, Family, Group, Notify, Outlet, OutletKind, Policy, Rates, Reserve,
    Slot, Uplink, UplinkName, policy::Addresses,
};

use crate::{
    api::Api,
    diagnostic::Diagnostic,
    history::History,
    notify,
    numbers::{NumbersExhausted, OutletCodes, Slots},
    patch,
    record::Record,
    sources::{ListFile, Sources},
};

/// A value of an uplink that a message can point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// Its name, in the table's header.
    Name,
    /// `interface`.
    Interface,
    /// `weight`.
    Weight,
    /// The word `ipv4` or `ipv6`.
    Access(Family),
    /// `ipv4.gateway` or `ipv6.gateway`.
    Gateway(Family),
    /// `ipv4.nat` or `ipv6.nat`.
    Nat(Family),
    /// `ipv6.prefix`.
    Prefix,
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
    /// `mark_uplink_bits`.
    MarkUplinkBits,
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
    /// What the line can carry.
    pub rates: Rates,
    /// Its share follows what the line can carry, instead of its weight.
    pub is_auto: bool,
    /// How much it may carry in a time; none: as much as it can.
    pub budget: Option<Budget>,
    /// Whether it yields to others of its tier while it is degraded.
    pub yields: bool,
    /// How IPv4 leaves by it; none: not at all.
    pub ipv4: Option<Access>,
    /// How IPv6 leaves by it; none: not at all.
    pub ipv6: Option<Access>,
    /// Where the file says so; what it leaves to the default has no place.
    pub(crate) spans: BTreeMap<Field, Range<usize>>,
}

impl ParsedUplink {
    /// How a family leaves by it.
    pub fn access(&self, family: Family) -> Option<&Access> {
        match family {
            Family::V4 => self.ipv4.as_ref(),
            Family::V6 => self.ipv6.as_ref(),
        }
    }
}

/// Where policies lead, before the outlet has its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParsedOutlet {
    pub(crate) name: String,
    pub(crate) kind: OutletKind,
}

/// Where a policy stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PolicyPlace {
    /// Where its header begins.
    pub(crate) header: usize,
    /// Its name, or else its header.
    pub(crate) name: Range<usize>,
    /// The values of its clauses.
    pub(crate) clauses: Vec<Range<usize>>,
}

impl PolicyPlace {
    /// Goes over all places.
    pub(crate) fn each_span(&mut self, mut change: impl FnMut(&mut Range<usize>)) {
        let mut header = self.header..self.header;
        change(&mut header);
        self.header = header.start;
        change(&mut self.name);
        self.clauses.iter_mut().for_each(change);
    }
}

/// A file without mistakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub(crate) path: String,
    pub(crate) lan: Vec<(String, Range<usize>)>,
    pub(crate) deprecate: bool,
    pub(crate) advertise: bool,
    pub(crate) uplinks: Vec<ParsedUplink>,
    /// The groups, `default` first.
    pub(crate) groups: Vec<Group>,
    /// Where the groups that are written have their names.
    pub(crate) group_spans: BTreeMap<String, Range<usize>>,
    pub(crate) policies: Vec<Arc<Policy>>,
    /// As many as policies.
    pub(crate) policy_places: Vec<PolicyPlace>,
    /// The outlets, the default group's first.
    pub(crate) outlets: Vec<ParsedOutlet>,
    pub(crate) files: Vec<ListFile>,
    /// What these files hold, by path.
    pub(crate) lists: BTreeMap<String, Addresses>,
    pub(crate) record: Record,
    pub(crate) history: History,
    pub(crate) notify: notify::Checked,
    pub(crate) api: Api,
    pub(crate) reserve: Reserve,
    /// Where `[reserve]` stands, if it does.
    pub(crate) reserve_key: Option<Range<usize>>,
    pub(crate) reserve_spans: BTreeMap<ReserveField, Range<usize>>,
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Parsed {
    /// Goes over all places but those of files.
    pub(crate) fn each_span(&mut self, mut change: impl FnMut(&mut Range<usize>)) {
        change(&mut self.api.token_file_span);
        self.notify
            .files
            .iter_mut()
            .for_each(|(_, span)| change(span));
        self.lan.iter_mut().for_each(|(_, span)| change(span));
        let uplinks = self.uplinks.iter_mut().flat_map(|u| u.spans.values_mut());
        uplinks.for_each(&mut change);
        self.group_spans.values_mut().for_each(&mut change);
        for place in &mut self.policy_places {
            place.each_span(&mut change);
        }
        self.reserve_key.iter_mut().for_each(&mut change);
        self.reserve_spans.values_mut().for_each(&mut change);
    }

    /// What the text `new` says, where this is what the text `old` says and the two differ in a few
    /// policies that stand together: those are read, and nothing else. None where all has to be read.
    ///
    /// The accounts and the files of prefixes have to be those of the earlier reading.
    pub fn patched(&self, old: &str, new: &str, accounts: &Sources) -> Option<Self> {
        patch::patched(self, old, new, accounts)
    }

    /// The path that the text was read from, as [`crate::parse`] was told.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the files of prefixes hold, by path, for [`crate::Draft::check_again`].
    pub fn lists(&self) -> &BTreeMap<String, Addresses> {
        &self.lists
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

    /// The groups: `default` first, then the others in the order of the file.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The policies, in the order of the file.
    pub fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }

    /// The files of prefixes that policies name: when one of them changes, so does the meaning of
    /// this one.
    pub fn files(&self) -> &[ListFile] {
        &self.files
    }

    /// What is written down of every sample.
    pub fn record(&self) -> Record {
        self.record
    }

    /// What is remembered of the lines.
    pub fn history(&self) -> History {
        self.history
    }

    /// Who is told of what happens.
    pub fn notify(&self) -> &Notify {
        &self.notify.notify
    }

    /// Where the text names a file or folder that telling needs, or else its table.
    pub fn span_of_notify_file(&self, path: &Path) -> Range<usize> {
        let mut files = self.notify.files.iter();
        let found = files.find(|(p, _)| p == path);
        found.map_or(0..0, |(_, span)| span.clone())
    }

    /// Who may ask the daemon.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Where the text names the file of tokens.
    pub fn span_of_token_file(&self) -> Range<usize> {
        self.api.token_file_span.clone()
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

    /// The names of the outlets that need a code, in the order of the policies: all but the default
    /// group's.
    pub fn outlet_names(&self) -> impl Iterator<Item = &str> {
        self.outlets.iter().skip(1).map(|o| o.name.as_str())
    }

    /// The highest code that the mark mask has room for. There are no more outlets than that, beside
    /// the default group's.
    pub fn outlet_max(&self) -> u16 {
        self.reserve.outlet_max()
    }

    /// Where a policy has its name, or else its header, by its place in the file from 0. Empty and
    /// at the start of the file for policies that it does not have.
    pub fn span_of_policy(&self, index: usize) -> Range<usize> {
        let place = self.policy_places.get(index);
        place.map_or(0..0, |p| p.name.clone())
    }

    /// Where a clause of a policy has its values, or else where the policy is.
    pub fn span_of_clause(&self, policy: usize, clause: usize) -> Range<usize> {
        let place = self.policy_places.get(policy);
        let clause = place.and_then(|p| p.clauses.get(clause));
        clause.cloned().unwrap_or(self.span_of_policy(policy))
    }

    /// The files of prefixes that a clause of a policy names.
    pub fn files_of_clause(&self, policy: usize, clause: usize) -> impl Iterator<Item = &str> {
        let place = self.policy_places.get(policy);
        let values = place.and_then(|p| p.clauses.get(clause)).cloned();
        let values = values.unwrap_or(0..0);
        let is_within = move |s: &Range<usize>| values.start <= s.start && s.end <= values.end;
        let files = self.files.iter();
        files
            .filter(move |f| f.spans.iter().any(&is_within))
            .map(|f| f.path.as_str())
    }

    /// Where a group has its name, if it is written.
    pub fn span_of_group(&self, name: &str) -> Option<Range<usize>> {
        self.group_spans.get(name).cloned()
    }

    /// Gives the uplinks and outlets that are new here their numbers; those of the others stay.
    ///
    /// # Errors
    /// More names than numbers, which the checks exclude.
    pub fn allocate(
        &self,
        slots: &mut Slots,
        codes: &mut OutletCodes,
    ) -> Result<(), NumbersExhausted> {
        slots.allocate(self.names(), self.slot_max())?;
        codes.allocate(self.outlet_names(), self.outlet_max())
    }

    /// The whole of what the user asked for. Uplinks and outlets that have no number yet get the one
    /// that [`Parsed::allocate`] would give them.
    pub fn to_config(&self, slots: &Slots, codes: &OutletCodes) -> Config {
        let (mut slots, mut codes) = (slots.clone(), codes.clone());
        self.allocate(&mut slots, &mut codes)
            .expect("the checks refuse more uplinks and outlets than there are numbers");
        let uplink = |u: &ParsedUplink| Uplink {
            name: u.name.clone(),
            slot: Slot(slots.get(&u.name).expect("every name was given a slot")),
            interface: u.interface.clone(),
            rates: u.rates,
            budget: u.budget.clone(),
            yields: u.yields,
            ipv4: u.ipv4.clone(),
            ipv6: u.ipv6.clone(),
        };
        let outlet = |(index, o): (usize, &ParsedOutlet)| Outlet {
            code: match index {
                0 => 0,
                _ => codes.get(&o.name).expect("every outlet was given a code"),
            },
            name: o.name.clone(),
            kind: o.kind.clone(),
        };
        Config {
            lan: self.lan().map(str::to_owned).collect(),
            deprecate: self.deprecate,
            advertise: self.advertise,
            uplinks: self.uplinks.iter().map(uplink).collect(),
            groups: self.groups.clone(),
            policies: self.policies.clone(),
            outlets: self.outlets.iter().enumerate().map(outlet).collect(),
            reserve: self.reserve.clone(),
        }
    }
}
