//! Where policies lead: names first, then the outlets that they share.

use std::collections::BTreeMap;

use toml::Spanned;
use uplinkd_model::{
    Group, Member, OutletKind, Reserve, UplinkName,
    policy::{Conduct, End, Failback, Outflow, OutletTier},
};

use crate::{
    check::{names::Names, room},
    diagnostic::Diagnostic,
    parsed::ParsedOutlet,
    quote::quoted,
    raw::{RawFile, RawPolicy},
    reader::Found,
};

/// Where a policy leads. Equal ones share an outlet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lead {
    Block,
    Main,
    Via { to: String, otherwise: Otherwise },
}

/// What serves when nothing that a policy leads to is live.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Otherwise {
    Default,
    Block,
    Via(String),
}

impl Lead {
    fn default_group() -> Self {
        Self::Via {
            to: Group::DEFAULT.to_owned(),
            otherwise: Otherwise::Default,
        }
    }

    /// The name of the outlet, which is the key of its lasting code.
    fn name(&self) -> String {
        match self {
            Self::Block => "block".to_owned(),
            Self::Main => "main".to_owned(),
            Self::Via { to, otherwise } => match otherwise {
                Otherwise::Default => to.clone(),
                Otherwise::Block => format!("{to}-or-block"),
                Otherwise::Via(name) => format!("{to}-or-{name}"),
            },
        }
    }
}

/// Reads `use` and `otherwise` of a policy; none where one of them leads nowhere.
pub(super) fn lead(policy: &RawPolicy, names: &Names<'_>, found: &mut Found) -> Option<Lead> {
    let whose = format!("policy {}", quoted(&policy.called));
    let destination = policy.destination.as_ref()?;
    let word = destination.get_ref().as_str();
    let is_word = word == "block" || word == "main";
    if is_word && let Some(uplink) = names.uplink(word) {
        found.push(
            Diagnostic::error(
                destination.span(),
                format!("`use` of {whose} could mean uplink `{word}` or the word `{word}`"),
            )
            .label("which of them?")
            .hint("give the uplink another name")
            .note(uplink.clone(), "the uplink"),
        );
        return None;
    }
    if is_word {
        if let Some(otherwise) = &policy.otherwise {
            found.push(
                Diagnostic::error(
                    otherwise.span(),
                    format!("{whose} has an `otherwise` that is never needed"),
                )
                .label(format!("`{word}` never fails"))
                .hint("remove it, or let `use` name a group or an uplink")
                .note(destination.span(), "leads here"),
            );
            return None;
        }
        return Some(if word == "block" {
            Lead::Block
        } else {
            Lead::Main
        });
    }
    if names.uplink(word).is_none() && !names.has_group(word) {
        let what = format!("`use` of {whose}");
        names.unknown_destination(destination, &what, &["block", "main", "default"], found);
        return None;
    }
    let otherwise = match &policy.otherwise {
        Some(otherwise) => self::otherwise(otherwise, destination, &whose, names, found)?,
        None => Otherwise::Default,
    };
    Some(Lead::Via {
        to: word.to_owned(),
        otherwise,
    })
}

fn otherwise(
    otherwise: &Spanned<String>,
    destination: &Spanned<String>,
    whose: &str,
    names: &Names<'_>,
    found: &mut Found,
) -> Option<Otherwise> {
    let word = otherwise.get_ref().as_str();
    if word == destination.get_ref() {
        found.push(
            Diagnostic::error(
                otherwise.span(),
                format!(
                    "{whose} leads to {} and, when that fails, to it again",
                    quoted(word)
                ),
            )
            .label("the same again")
            .hint("name another group, \"block\", or remove it for the default group")
            .note(destination.span(), "leads here"),
        );
        return None;
    }
    match word {
        Group::DEFAULT => Some(Otherwise::Default),
        "block" => Some(Otherwise::Block),
        "main" => {
            found.push(
                Diagnostic::error(
                    otherwise.span(),
                    format!("`otherwise` of {whose} cannot be `main`"),
                )
                .label("only `use` can leave traffic to the main table")
                .hint("write \"default\", \"block\", or another group or uplink"),
            );
            None
        }
        name if names.uplink(name).is_some() || names.has_group(name) => {
            Some(Otherwise::Via(name.to_owned()))
        }
        _ => {
            let what = format!("`otherwise` of {whose}");
            names.unknown_destination(otherwise, &what, &["default", "block"], found);
            None
        }
    }
}

/// The outlets of a file, and which of them each policy has.
pub(super) struct Outlets {
    /// The default group's first.
    pub(super) outlets: Vec<ParsedOutlet>,
    /// As many as policies: indices into the outlets.
    pub(super) of_policies: Vec<usize>,
}

/// Makes the outlets. `leads` belong to the policies in their order; all names in them are known.
pub(super) fn outlets(
    raw: &RawFile,
    leads: &[Lead],
    groups: &[Group],
    names: &Names<'_>,
    reserve: &Reserve,
    found: &mut Found,
) -> Outlets {
    let mut indices = BTreeMap::new();
    let mut by_name = BTreeMap::new();
    let mut outlets = Vec::new();
    let mut of_policies = Vec::new();
    let mut first_without = None;
    for (lead, policy) in std::iter::once((Lead::default_group(), None))
        .chain(leads.iter().cloned().zip(raw.policies.iter().map(Some)))
    {
        let index = *indices.entry(lead.clone()).or_insert_with(|| {
            let name = lead.name();
            if let Some(policy) = policy {
                clash(&lead, &name, policy, &by_name, names, found);
                if outlets.len() > usize::from(reserve.outlet_max()) {
                    first_without.get_or_insert(policy);
                }
            }
            by_name.insert(name.clone(), lead.clone());
            outlets.push(ParsedOutlet {
                kind: kind(&lead, outlets.is_empty(), groups),
                name,
            });
            outlets.len() - 1
        });
        if policy.is_some() {
            of_policies.push(index);
        }
    }
    if let Some(policy) = first_without {
        let count = outlets.len() - 1;
        found.push(room::too_few_for_outlets(policy, count, raw, reserve));
    }
    Outlets {
        outlets,
        of_policies,
    }
}

/// Names of outlets are made of two names and a word, so that two of them can come out the same.
fn clash(
    lead: &Lead,
    name: &str,
    policy: &RawPolicy,
    by_name: &BTreeMap<String, Lead>,
    names: &Names<'_>,
    found: &mut Found,
) {
    let is_made = !matches!(
        lead,
        Lead::Block
            | Lead::Main
            | Lead::Via {
                otherwise: Otherwise::Default,
                ..
            }
    );
    let taken = is_made.then(|| names.place(name)).flatten();
    if taken.is_none() && !by_name.contains_key(name) {
        return;
    }
    let mut diagnostic = Diagnostic::error(
        policy.span.clone(),
        format!(
            "where policy {} leads would be called {}, and something else is called so",
            quoted(&policy.called),
            quoted(name)
        ),
    )
    .label("leads to two names in one")
    .hint("rename the group or uplink that has `-or-` in its name");
    if let Some(taken) = taken {
        diagnostic = diagnostic.note(taken.clone(), "called so");
    }
    found.push(diagnostic);
}

fn kind(lead: &Lead, is_default: bool, groups: &[Group]) -> OutletKind {
    let (to, otherwise) = match lead {
        Lead::Block => return OutletKind::Block,
        Lead::Main => return OutletKind::Main,
        Lead::Via { to, otherwise } => (to, otherwise),
    };
    let group = groups.iter().find(|g| g.name == *to);
    let mut tiers = tiers(to, group);
    if let Otherwise::Via(name) = otherwise {
        let group = groups.iter().find(|g| g.name == *name);
        tiers.extend(self::tiers(name, group));
    }
    let end = match otherwise {
        Otherwise::Default | Otherwise::Via(_) if is_default => End::Keep,
        Otherwise::Default | Otherwise::Via(_) => End::Default,
        Otherwise::Block => End::Block,
    };
    OutletKind::Uplinks(Outflow {
        group: group.map(|g| g.name.clone()),
        tiers,
        end,
        failback: group.map_or(Failback::default(), |g| g.failback),
        sticky: group.and_then(|g| g.sticky),
    })
}

/// The tiers of a group, or the one of an uplink.
fn tiers(name: &str, group: Option<&Group>) -> Vec<OutletTier> {
    let Some(group) = group else {
        // A name that is no group's is an uplink's; one that it cannot have has been refused.
        let member = UplinkName::new(name).map(|uplink| Member {
            uplink,
            weight: 1,
            is_auto: false,
        });
        return vec![OutletTier {
            group: None,
            rank: 1,
            members: member.into_iter().collect(),
            conduct: Conduct::default(),
        }];
    };
    let tier = |(index, members): (usize, &Vec<Member>)| OutletTier {
        group: Some(group.name.clone()),
        rank: index + 1,
        members: members.clone(),
        conduct: group.conduct,
    };
    group.tiers.iter().enumerate().map(tier).collect()
}
