//! Groups: names, tiers, failback, stickiness.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use toml::Spanned;
use uplinkd_model::{
    Group, Member, UplinkName,
    policy::{Conduct, Failback, FailbackFlows, FailbackWhen, Sticky, StickyBy},
};

use crate::{
    check::{
        bounded, conduct,
        duration::{self, Limits},
        names::{Names, is_name},
        uplink, word,
    },
    diagnostic::Diagnostic,
    keys,
    parsed::{Field, ParsedUplink},
    quote::quoted,
    raw::{RawFailback, RawFile, RawGroup, RawMember, RawSticky, RawTier, RawWeight, WordOrTable},
    reader::Found,
};

/// Words that `use` and `otherwise` understand without a group.
const WORDS: [&str; 2] = ["block", "main"];

const AFTER: Limits = Limits {
    least: Duration::from_secs(1),
    most: Duration::from_secs(7 * 24 * 60 * 60),
    hint: "\"60s\" is usual; write `failback = \"at-once\"` for no waiting at all",
};
const STICKY_FOR: Limits = Limits {
    least: Duration::from_secs(1),
    most: Duration::from_secs(30 * 24 * 60 * 60),
    hint: "\"24h\" is the default; it counts from the last new connection",
};

/// All groups, `default` first, and where the written ones have their names.
pub(super) struct Groups {
    pub(super) groups: Vec<Group>,
    pub(super) spans: BTreeMap<String, Range<usize>>,
}

/// Checks the groups. Those with mistakes are left out or have gaps.
pub(super) fn check(
    raw: &RawFile,
    uplinks: &[ParsedUplink],
    names: &Names<'_>,
    found: &mut Found,
) -> Groups {
    let mut groups = Vec::new();
    for group in &raw.groups {
        name(group, names, found);
        groups.push(
            Checks {
                group,
                uplinks,
                names,
            }
            .check(found),
        );
    }
    let default = groups.iter().position(|g| g.name == Group::DEFAULT);
    let default = match default {
        Some(index) => groups.remove(index),
        None => Group {
            name: Group::DEFAULT.to_owned(),
            tiers: vec![alike(
                everybody(uplinks),
                uplinks,
                &BTreeMap::new(),
                "group `default`",
                found,
            )],
            failback: Failback::default(),
            sticky: None,
            conduct: Conduct::default(),
        },
    };
    groups.insert(0, default);
    let span = |g: &RawGroup| (g.name.get_ref().clone(), g.name.span());
    Groups {
        groups,
        spans: raw.groups.iter().map(span).collect(),
    }
}

/// Every uplink, by its own weight.
fn everybody(uplinks: &[ParsedUplink]) -> Vec<Member> {
    let member = |u: &ParsedUplink| Member {
        uplink: u.name.clone(),
        weight: u.weight,
        is_auto: u.is_auto,
    };
    uplinks.iter().map(member).collect()
}

fn name(group: &RawGroup, names: &Names<'_>, found: &mut Found) {
    let word = group.name.get_ref();
    let refuse = |reason: &str, label: &str| {
        Diagnostic::error(
            group.name.span(),
            format!("a group cannot be named {}: {reason}", quoted(word)),
        )
        .label(label)
    };
    if WORDS.contains(&word.as_str()) {
        let reason = "policies write that word for something else";
        let hint = "choose another name, such as `calls`";
        found.push(refuse(reason, "not a name for a group").hint(hint));
    } else if !is_name(word) {
        let reason = "a letter first, then letters, digits, `_` and `-`, at most 32";
        let hint = "choose a name such as `calls`";
        found.push(refuse(reason, "not a name for a group").hint(hint));
    } else if let Some(uplink) = names.uplink(word) {
        let reason = "an uplink has that name, and policies could mean either";
        let hint = "choose another name for one of them";
        found.push(
            refuse(reason, "taken")
                .hint(hint)
                .note(uplink.clone(), "the uplink"),
        );
    }
}

/// One group, with what it is held against.
struct Checks<'c> {
    group: &'c RawGroup,
    uplinks: &'c [ParsedUplink],
    names: &'c Names<'c>,
}

impl Checks<'_> {
    fn check(&self, found: &mut Found) -> Group {
        let whose = format!("group {}", quoted(self.group.name.get_ref()));
        let tiers = self.tiers(&whose, found);
        Group {
            name: self.group.name.get_ref().clone(),
            conduct: conduct::check(self.group, &tiers, self.uplinks, &whose, found),
            tiers,
            failback: failback(self.group.failback.as_ref(), &whose, found).unwrap_or_default(),
            sticky: self
                .group
                .sticky
                .as_ref()
                .and_then(|s| sticky(s, &whose, found)),
        }
    }

    fn tiers(&self, whose: &str, found: &mut Found) -> Vec<Vec<Member>> {
        let Some(tiers) = &self.group.tiers else {
            let is_default = self.group.name.get_ref() == Group::DEFAULT;
            if !is_default && self.group.is_complete {
                found.push(
                    Diagnostic::error(self.group.name.span(), format!("{whose} has no tiers"))
                        .label("`tiers` is missing")
                        .hint("add `tiers = [[\"isp1\"], [\"isp2\"]]`, with the uplinks to prefer first"),
                );
            }
            let all = everybody(self.uplinks);
            return vec![alike(all, self.uplinks, &BTreeMap::new(), whose, found)];
        };
        if tiers.get_ref().is_empty() && self.group.is_complete {
            found.push(
                Diagnostic::error(tiers.span(), format!("{whose} has no tiers"))
                    .label("nothing is in it")
                    .hint("write one list of uplinks for each tier: `[[\"isp1\"], [\"isp2\"]]`"),
            );
        }
        let mut seen = BTreeMap::new();
        let mut checked = Vec::new();
        for (rank, tier) in tiers.get_ref().iter().enumerate() {
            if tier.members.is_empty() && self.group.is_complete {
                found.push(
                    Diagnostic::error(
                        tier.span.clone(),
                        format!("tier {} of {whose} has no uplinks", rank + 1),
                    )
                    .label("nothing is in it")
                    .hint("remove it, or put an uplink into it"),
                );
            }
            let members = tier.members.iter();
            let member = |m| self.member(m, whose, &mut seen, found);
            let members = members.filter_map(member).collect();
            checked.push(self.alike(members, tier, whose, found));
        }
        checked
    }

    /// Has all of a tier follow the lines, where one does.
    fn alike(
        &self,
        members: Vec<Member>,
        tier: &RawTier,
        whose: &str,
        found: &mut Found,
    ) -> Vec<Member> {
        let written = tier.members.iter().filter_map(|m| {
            let weight = m.weight.as_ref()?;
            Some((m.uplink.get_ref().clone(), weight.span()))
        });
        alike(members, self.uplinks, &written.collect(), whose, found)
    }

    fn member(
        &self,
        member: &RawMember,
        whose: &str,
        seen: &mut BTreeMap<String, Range<usize>>,
        found: &mut Found,
    ) -> Option<Member> {
        let word = member.uplink.get_ref();
        let weight = member.weight.as_ref().map(|weight| {
            let what = format!("the weight of {} in {whose}", quoted(word));
            match weight {
                RawWeight::Number(number) => {
                    let hint = "only the ratio inside the tier counts";
                    let weight = bounded(number, keys::WEIGHT, &what, hint, found);
                    weight.map(|weight| (weight, false))
                }
                RawWeight::Word(_) => uplink::weight(weight, &what, found),
            }
        });
        if self.names.uplink(word).is_none() {
            self.names.unknown_member(&member.uplink, whose, found);
            return None;
        }
        if let Some(first) = seen.get(word) {
            found.push(
                Diagnostic::error(
                    member.uplink.span(),
                    format!("uplink {} is in {whose} twice", quoted(word)),
                )
                .label("again here")
                .hint("keep the better tier; weights tell shares inside one")
                .note(first.clone(), "first here"),
            );
            return None;
        }
        seen.insert(word.clone(), member.uplink.span());
        let uplink = UplinkName::new(word).ok()?;
        let own = self.uplinks.iter().find(|u| u.name == uplink);
        let (weight, is_auto) = match weight {
            Some(written) => written?,
            None => own.map_or((1, false), |u| (u.weight, u.is_auto)),
        };
        Some(Member {
            uplink,
            weight,
            is_auto,
        })
    }
}

/// Where the share of one member of a tier follows the lines, so do those of the others that have no weight
/// of their own; one that has makes no sense beside it. `written` are weights that the tier itself gives.
fn alike(
    mut members: Vec<Member>,
    uplinks: &[ParsedUplink],
    written: &BTreeMap<String, Range<usize>>,
    whose: &str,
    found: &mut Found,
) -> Vec<Member> {
    if !members.iter().any(|m| m.is_auto) {
        return members;
    }
    for member in members.iter_mut().filter(|m| !m.is_auto) {
        let name = member.uplink.as_str();
        let own = uplinks.iter().find(|u| u.name == member.uplink);
        let own = own.and_then(|u| u.spans.get(&Field::Weight));
        if let Some(span) = written.get(name).or(own) {
            let message = format!(
                "uplink {} has a weight of its own in {whose} beside one that is \"auto\"",
                quoted(name)
            );
            found.push(
                Diagnostic::error(span.clone(), message)
                    .label("a number has no meaning there")
                    .hint("write \"auto\" for all uplinks of the tier, or for none"),
            );
        }
        member.is_auto = true;
    }
    members
}

fn failback(
    raw: Option<&WordOrTable<RawFailback>>,
    whose: &str,
    found: &mut Found,
) -> Option<Failback> {
    let what = format!("the failback of {whose}");
    let words = [
        ("at-once", FailbackWhen::AtOnce),
        ("by-hand", FailbackWhen::ByHand),
    ];
    let flows = [
        ("keep", FailbackFlows::Keep),
        ("drain", FailbackFlows::Drain),
        ("move", FailbackFlows::Move),
    ];
    match raw? {
        WordOrTable::Word(text) => {
            let hint = "or a table such as `{ after = \"60s\", flows = \"drain\" }`";
            Some(Failback {
                when: word(text, &words, &what, hint, found)?,
                flows: FailbackFlows::default(),
            })
        }
        WordOrTable::Table(table) => {
            let RawFailback {
                after,
                by_hand,
                flows: raw,
            } = table.get_ref();
            let flows = raw.as_ref().map_or(Some(FailbackFlows::default()), |text| {
                word(text, &flows, &format!("the flows at {what}"), "", found)
            });
            Some(Failback {
                when: when(after.as_ref(), by_hand.as_ref(), &what, found)?,
                flows: flows?,
            })
        }
    }
}

fn when(
    after: Option<&Spanned<String>>,
    by_hand: Option<&Spanned<bool>>,
    what: &str,
    found: &mut Found,
) -> Option<FailbackWhen> {
    match (after, by_hand.filter(|b| *b.get_ref())) {
        (Some(after), Some(by_hand)) => {
            found.push(
                Diagnostic::error(
                    by_hand.span(),
                    format!("{what} is both by hand and after a time"),
                )
                .label("by hand here")
                .hint("keep one of them")
                .note(after.span(), "after a time here"),
            );
            None
        }
        (Some(after), None) => {
            let what = format!("the wait before {what}");
            duration::check(after, &AFTER, &what, found).map(FailbackWhen::After)
        }
        (None, Some(_)) => Some(FailbackWhen::ByHand),
        (None, None) => Some(FailbackWhen::AtOnce),
    }
}

fn sticky(raw: &WordOrTable<RawSticky>, whose: &str, found: &mut Found) -> Option<Sticky> {
    let what = format!("what is sticky in {whose}");
    let by = [
        ("source", Some(StickyBy::Source)),
        ("source-destination", Some(StickyBy::SourceDestination)),
        ("connection", None),
    ];
    match raw {
        WordOrTable::Word(text) => Some(Sticky {
            by: word(text, &by, &what, "", found)??,
            idle: Sticky::IDLE_DEFAULT,
        }),
        WordOrTable::Table(table) => {
            let RawSticky { by: raw, idle } = table.get_ref();
            let Some(raw) = raw else {
                found.push(
                    Diagnostic::error(
                        table.span(),
                        format!("the sticky of {whose} does not say by what"),
                    )
                    .label("`by` is missing")
                    .hint("add `by = \"source\"` or `by = \"source-destination\"`"),
                );
                return None;
            };
            let idle = idle.as_ref().map_or(Some(Sticky::IDLE_DEFAULT), |text| {
                let what = format!("how long choices are sticky in {whose}");
                duration::check(text, &STICKY_FOR, &what, found)
            });
            Some(Sticky {
                by: word(raw, &by, &what, "", found)??,
                idle: idle?,
            })
        }
    }
}
