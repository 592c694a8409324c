//! What is there of our table, compared with what we remember of it.
//!
//! As long as nobody has changed anything in nft since we last knew, which one number tells, there is
//! nothing to compare. Otherwise chains, rules, sets and maps are listed, which costs little, and
//! kept as one number for each. Elements may be very many: those of a collection are only listed
//! where the watch saw somebody else at them, or where there is no watch. What sets that fill
//! themselves hold is never looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
};

use nix::libc;
use serde::{Deserialize, Serialize};
use uplinkd_model::kernel_state::NftState;

use super::{
    Known,
    element::{digest_of_reply, question},
    shared::Suspicion,
    wire::{FIXED, INET, TABLE, chain, generation, message, rule, set, table},
};
use crate::{
    Kernel,
    netlink::{KernelError, Message, Reply, find, text},
};

/// The kernel's count of transactions in nft, of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Generation(u32);

impl Generation {
    /// What it is after so many transactions, if all of them are ours. Zero is left out.
    pub(super) fn steps(from: Option<Self>, transactions: u32) -> Option<Self> {
        let Self(from) = from?;
        let to = from.wrapping_add(transactions);
        Some(Self(if to < from { to.wrapping_add(1) } else { to }))
    }
}

impl Kernel {
    /// Whether there is a table of our name, and whether it is as we put it.
    pub(crate) fn nft_state(&mut self, name: &str) -> Result<NftState, KernelError> {
        if !self.has_nft_table(name) {
            return Ok(NftState::Absent);
        }
        let known = self.nft.known.take().filter(|k| k.name == name);
        let Some(mut known) = known else {
            return Ok(NftState::Altered {
                found: "a table that we do not remember putting there".to_owned(),
            });
        };
        let suspicion = self.nft.shared.suspicion();
        let state = self.nft_difference(&mut known, &suspicion);
        let fingerprint = known.fingerprint;
        self.nft.known = Some(known);
        Ok(match state? {
            None => {
                self.nft.shared.settle(&suspicion);
                NftState::Holds(fingerprint)
            }
            Some(mut found) => {
                if let Some(process) = suspicion.process {
                    let _ = write!(found, " (changed by {process})");
                }
                NftState::Altered { found }
            }
        })
    }

    /// Whether the kernel surely holds what we remember.
    pub(super) fn nft_is_as_known(&mut self, name: &str) -> bool {
        matches!(self.nft_state(name), Ok(NftState::Holds(_)))
    }

    /// The first difference in words; none where all is as known.
    fn nft_difference(
        &mut self,
        known: &mut Known,
        suspicion: &Suspicion,
    ) -> Result<Option<String>, KernelError> {
        let before = self.generation();
        let is_unmoved = before.is_some() && before == known.generation;
        if is_unmoved && suspicion.is_none() {
            return Ok(None);
        }
        if !is_unmoved {
            known.generation = None;
            let found = self.structure(&known.name, None)?;
            if let Some(words) = difference(&known.structure, &found) {
                return Ok(Some(words));
            }
        }
        let suspects = known
            .digests
            .iter()
            .filter(|(name, _)| suspicion.is_of(name, !is_unmoved));
        for (set, digest) in suspects {
            let replies = self.netfilter.dump(question(&known.name, set, None))?;
            let sum = |sum: u64, r: &Reply| sum.wrapping_add(digest_of_reply(&r.body));
            if replies.iter().fold(0, sum) != *digest {
                return Ok(Some(format!("other elements in `{set}`")));
            }
        }
        if self.generation() == before {
            known.generation = before;
        }
        Ok(None)
    }

    /// Asked by netlink, which says so by number; `nft` would say it in words.
    pub(crate) fn has_nft_table(&mut self, name: &str) -> bool {
        match self.netfilter.ask(of_table(message::GET_TABLE, name)) {
            // Any other refusal (no right, no nf_tables) is left to `nft` to explain.
            Err(e) => e.errno != libc::ENOENT,
            Ok(_) => true,
        }
    }

    /// The count now; none where the kernel does not say.
    pub(super) fn generation(&mut self) -> Option<Generation> {
        let ask = Message::new(message::GET_GENERATION, 0, &[0; FIXED]);
        let reply = self.netfilter.ask(ask).ok()?;
        let id = find(reply.body.get(FIXED..)?, generation::ID)?.first_chunk()?;
        Some(Generation(u32::from_be_bytes(*id)))
    }

    /// The names of the sets and maps of a table.
    pub(super) fn set_names(&mut self, table: &str) -> Result<BTreeSet<String>, KernelError> {
        let replies = self.netfilter.dump(of_table(message::GET_SET, table))?;
        let names = replies.iter().filter_map(|r| {
            let name = find(r.body.get(FIXED..)?, set::NAME)?;
            Some(text(name))
        });
        Ok(names.collect())
    }

    /// Everything in a table but the elements of its sets: for each chain and set a number that
    /// another content would have another of.
    ///
    /// Where `only` is given, the rules of other chains than these are not listed, and no chain but
    /// these is in the answer.
    pub(super) fn structure(
        &mut self,
        name: &str,
        only: Option<&BTreeSet<String>>,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let mut parts = Parts::default();
        let reply = self.netfilter.ask(of_table(message::GET_TABLE, name))?;
        parts.add("the table".to_owned(), attributes(&reply), &[table::FLAGS]);
        // The kernel lists the chains of all tables.
        for reply in self.netfilter.dump(of_table(message::GET_CHAIN, name))? {
            if find(attributes(&reply), TABLE).map(text).as_deref() == Some(name) {
                parts.add_chain(&reply, |chain| only.is_none_or(|only| only.contains(chain)));
            }
        }
        let all = of_table(message::GET_RULE, name);
        let questions = match only {
            None => vec![all],
            Some(only) => only
                .iter()
                .map(|chain| all.clone().str(rule::CHAIN, chain))
                .collect(),
        };
        for question in questions {
            parts.add_rules(&self.netfilter.dump(question)?);
        }
        for reply in self.netfilter.dump(of_table(message::GET_SET, name))? {
            parts.add_set(&reply);
        }
        Ok(parts.finish())
    }

    /// The same of some chains only.
    pub(super) fn structure_of_chains(
        &mut self,
        name: &str,
        chains: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let mut parts = Parts::default();
        for chain_name in chains {
            let question = of_table(message::GET_CHAIN, name).str(chain::NAME, chain_name);
            parts.add_chain(&self.netfilter.ask(question)?, |_| true);
            let question = of_table(message::GET_RULE, name).str(rule::CHAIN, chain_name);
            parts.add_rules(&self.netfilter.dump(question)?);
        }
        Ok(parts.finish())
    }
}

/// The parts of a structure, while they are listed.
#[derive(Default)]
struct Parts(BTreeMap<String, DefaultHasher>);

impl Parts {
    fn add(&mut self, part: String, attributes: &[u8], kinds: &[u16]) {
        let hasher = self.0.entry(part).or_default();
        for kind in kinds {
            find(attributes, *kind).hash(hasher);
        }
    }

    fn add_chain(&mut self, reply: &Reply, is_wanted: impl Fn(&str) -> bool) {
        let attributes = attributes(reply);
        if let Some(name) = find(attributes, chain::NAME).map(text)
            && is_wanted(&name)
        {
            let kinds = [chain::HOOK, chain::POLICY, chain::TYPE];
            self.add(chain_part(&name), attributes, &kinds);
        }
    }

    fn add_rules(&mut self, replies: &[Reply]) {
        for reply in replies {
            let attributes = attributes(reply);
            if let Some(chain) = find(attributes, rule::CHAIN).map(text) {
                self.add(chain_part(&chain), attributes, &[rule::EXPRESSIONS]);
            }
        }
    }

    fn add_set(&mut self, reply: &Reply) {
        let attributes = attributes(reply);
        if let Some(name) = find(attributes, set::NAME).map(text) {
            let kinds = [
                set::FLAGS,
                set::KEY_TYPE,
                set::KEY_LENGTH,
                set::DATA_TYPE,
                set::TIMEOUT,
            ];
            self.add(format!("set `{name}`"), attributes, &kinds);
        }
    }

    fn finish(self) -> BTreeMap<String, u64> {
        let finished = self.0.into_iter().map(|(part, h)| (part, h.finish()));
        finished.collect()
    }
}

/// What a chain is called in a structure.
pub(super) fn chain_part(name: &str) -> String {
    format!("chain `{name}`")
}

fn of_table(kind: u16, name: &str) -> Message {
    Message::new(kind, 0, &INET).str(TABLE, name)
}

fn attributes(reply: &Reply) -> &[u8] {
    reply.body.get(FIXED..).unwrap_or_default()
}

/// The first part that is not what it was.
fn difference(expected: &BTreeMap<String, u64>, found: &BTreeMap<String, u64>) -> Option<String> {
    let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    names
        .into_iter()
        .find_map(|name| match (expected.get(name), found.get(name)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(_), Some(_)) => Some(format!("{name} is not as we put it")),
            (Some(_), None) => Some(format!("{name} is gone")),
            (None, _) => Some(format!("{name}, which we did not put there")),
        })
        // Names are bytes that anybody may have chosen.
        .map(|words| words.escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let parts = |parts: &[(&str, u64)]| -> BTreeMap<String, u64> {
            parts.iter().map(|(n, d)| ((*n).to_owned(), *d)).collect()
        };
        let put = parts(&[("chain `a`", 1), ("set `b`", 2)]);
        for (found, expected) in [
            (put.clone(), None),
            (
                parts(&[("chain `a`", 7), ("set `b`", 2)]),
                Some("chain `a` is not as we put it"),
            ),
            (parts(&[("chain `a`", 1)]), Some("set `b` is gone")),
            (
                parts(&[("chain `a`", 1), ("set `b`", 2), ("set `x`", 2)]),
                Some("set `x`, which we did not put there"),
            ),
        ] {
            assert_eq!(difference(&put, &found).as_deref(), expected);
        }
    }

    #[test]
    fn the_count_leaves_out_zero() {
        let steps = |from, n| Generation::steps(Some(Generation(from)), n);
        assert_eq!(steps(7, 2), Some(Generation(9)));
        assert_eq!(steps(u32::MAX, 1), Some(Generation(1)));
        assert_eq!(Generation::steps(None, 1), None);
    }
}
