//! Putting and removing our table.

use std::{collections::BTreeMap, sync::Arc};

use uplinkd_model::nft::NftTable;

use super::{
    Forms, Known, NftError, build,
    delta::{Delta, delta},
    direct,
    element::{self, Messages},
    look::{self, Generation},
    program,
    ruleset::{Collection, Ruleset},
    text,
    text::Fill,
    wire::SUBSYSTEM,
};
use crate::{
    Kernel,
    netlink::{KernelError, Message},
};

/// Collections with more elements are not written as text where there is no table yet: messages
/// are some five times faster than nft.
const TEXT_ELEMENTS_MAX: usize = 1000;

impl Kernel {
    /// The forms that are known of maps, to find those of other policies from.
    pub fn nft_forms(&self) -> [Forms; 2] {
        self.nft.forms.clone()
    }

    /// Takes forms of maps that are about to be put, so that they need not be found then. Whatever is
    /// put instead is put as well.
    pub fn foresee_nft(&mut self, forms: Forms) {
        self.nft.forms[1] = forms;
    }

    /// Makes the kernel hold this content: by what is different where we know what it holds, by a
    /// whole new table in one transaction otherwise.
    pub(crate) fn put_nft(&mut self, table: &NftTable) -> Result<(), NftError> {
        let forms = Forms::of(&table.classifier, &self.nft.forms);
        let wanted = Arc::new(build::ruleset(table, &forms)?);
        self.nft.forms[0] = forms;
        let before = self.nft.known.clone().filter(|k| k.name == table.name);
        if let Some(known) = before
            && let Some(held) = known.ruleset.clone()
            && self.nft_is_as_known(&table.name)
            && let Some(delta) = delta(&held, &wanted)
        {
            match self.put_delta(&delta, &known, &held, table, &wanted) {
                Ok(()) => return Ok(()),
                // Nothing of a refused transaction holds; an earlier one of them may.
                Err(error) => tracing::warn!(
                    %error,
                    "cannot change the nft table in place; putting all of it"
                ),
            }
        }
        self.put_whole(table, &wanted)
    }

    fn put_delta(
        &mut self,
        delta: &Delta,
        known: &Known,
        held: &Ruleset,
        table: &NftTable,
        wanted: &Arc<Ruleset>,
    ) -> Result<(), NftError> {
        // From here on the old memory stands for nothing, whatever happens.
        self.nft.set(None);
        let before = self.generation();
        let (transactions, structure) = match self.put_directly(delta, held, &known.name, wanted)? {
            true => (1, self.structure_after_rules(delta, known, wanted)),
            false => match self.put_in_steps(delta)? {
                (transactions, true) => {
                    let structure = self.structure_after(delta, known, wanted);
                    (transactions, structure)
                }
                (transactions, false) => (transactions, Ok(known.structure.clone())),
            },
        };
        let mut digests = known.digests.clone();
        for (name, grows) in &delta.digests {
            let digest = digests.entry(name.clone()).or_default();
            *digest = digest.wrapping_add(*grows);
        }
        digests.retain(|name, _| wanted.collections.contains_key(name));
        let steps = Generation::steps(before, transactions);
        self.remember(table, wanted, structure, digests, steps);
        Ok(())
    }

    /// Rules and elements in one transaction without nft, where that can be done. Says whether it was.
    fn put_directly(
        &mut self,
        delta: &Delta,
        held: &Ruleset,
        table: &str,
        wanted: &Ruleset,
    ) -> Result<bool, NftError> {
        if !delta.has_text() {
            return Ok(false);
        }
        let Some(changes) = direct::changes(delta, held, wanted) else {
            return Ok(false);
        };
        let messages = self.direct_messages(table, delta, &changes);
        let Some(messages) = messages.map_err(NftError::Rules)? else {
            return Ok(false);
        };
        match self.netfilter.transaction(SUBSYSTEM, &messages) {
            Ok(()) => Ok(true),
            Err(error) => {
                // Nothing was changed, and nft may be able to.
                tracing::warn!(%error, "cannot change nft rules by messages; asking nft");
                Ok(false)
            }
        }
    }

    /// The steps of a change, each a transaction: how many there were, and whether nft ran.
    fn put_in_steps(&mut self, delta: &Delta) -> Result<(u32, bool), NftError> {
        let mut transactions = 0;
        let mut texts = [&delta.declare, &delta.switch, &delta.clear].map(String::as_str);
        let all;
        if delta.is_one_text() {
            all = texts.concat();
            texts = ["", all.as_str(), ""];
        }
        let [declare, switch, clear] = texts;
        let mut has_text = false;
        // Messages that no text comes between are one transaction.
        let mut messages = delta.counters.clone();
        for (text, then) in [
            (declare, &delta.fill),
            (switch, &delta.drain),
            (clear, &delta.counters_gone),
        ] {
            if !text.is_empty() {
                if !messages.is_empty() {
                    self.send_elements(&std::mem::take(&mut messages))?;
                    transactions += 1;
                }
                self.run_nft(text.to_owned())?;
                transactions += 1;
                has_text = true;
            }
            messages.extend_from_slice(then);
        }
        if !messages.is_empty() {
            match self.send_elements(&messages) {
                Ok(()) => transactions += 1,
                // Kernels before 6.4 let go of what a map named some time after the map is gone. A
                // counter that nobody asks for does no harm until the table is put.
                Err(error) if !clear.is_empty() => {
                    tracing::debug!(%error, "counters of policies that are gone stay for a while");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((transactions, has_text))
    }

    fn put_whole(&mut self, table: &NftTable, wanted: &Arc<Ruleset>) -> Result<(), NftError> {
        let is_first = !self.has_nft_table(&table.name);
        let kept = if is_first {
            BTreeMap::new()
        } else {
            self.kept(wanted)
        };
        // What is counted until the transaction is done is lost.
        let counted = self.counted(&table.name).unwrap_or_default();
        // Where there is nothing of ours yet, nothing of ours can be missing for a moment.
        let fill = if is_first {
            Fill::Small(TEXT_ELEMENTS_MAX)
        } else {
            Fill::All
        };
        let mut text = text::whole(wanted, fill, &kept, &counted);
        let messages = messages_for(wanted, fill);
        self.nft.set(None);
        let before = self.generation();
        if let Err(error) = self.run_nft(text) {
            if kept.is_empty() {
                return Err(error);
            }
            // A table without sticky choices is better than none.
            tracing::warn!(%error, "cannot keep what the nft table has learned");
            text = text::whole(wanted, fill, &BTreeMap::new(), &counted);
            self.run_nft(text)?;
        }
        let mut transactions = 1;
        if !messages.is_empty() {
            self.send_elements(&messages)?;
            transactions += 1;
        }
        let digests = wanted
            .collections
            .iter()
            .filter(|(_, c)| c.elements().is_some())
            .map(|(name, c)| (name.clone(), element::digest(c)))
            .collect();
        let steps = Generation::steps(before, transactions);
        let structure = self.structure(&table.name, None);
        self.remember(table, wanted, structure, digests, steps);
        Ok(())
    }

    /// The structure after a change in place: what was changed is read, the rest is as it was. Should
    /// somebody else have changed that meanwhile, the next look sees it.
    fn structure_after(
        &mut self,
        delta: &Delta,
        known: &Known,
        wanted: &Ruleset,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let mut structure = self.structure(&known.name, Some(&delta.chains))?;
        for chain in wanted.chains.keys() {
            let part = look::chain_part(chain);
            if let Some(digest) = known.structure.get(&part) {
                structure.entry(part).or_insert(*digest);
            }
        }
        Ok(structure)
    }

    /// The same after a change of rules and elements: all sets and maps are those that were there.
    fn structure_after_rules(
        &mut self,
        delta: &Delta,
        known: &Known,
        wanted: &Ruleset,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let mut structure = known.structure.clone();
        for chain in known.ruleset.iter().flat_map(|held| held.chains.keys()) {
            if !wanted.chains.contains_key(chain) {
                structure.remove(&look::chain_part(chain));
            }
        }
        structure.extend(self.structure_of_chains(&known.name, &delta.chains)?);
        Ok(structure)
    }

    /// Notes what we put, as the kernel shows it.
    fn remember(
        &mut self,
        table: &NftTable,
        wanted: &Arc<Ruleset>,
        structure: Result<BTreeMap<String, u64>, KernelError>,
        digests: BTreeMap<String, u64>,
        expected: Option<Generation>,
    ) {
        let structure = match structure {
            Ok(structure) => structure,
            Err(error) => {
                // It was put; the next look finds it altered and puts it again.
                tracing::warn!(%error, "cannot read the nft table after putting it");
                return;
            }
        };
        // Somebody else's transaction in between may have changed anything: the next look sees.
        let generation = self.generation().filter(|g| Some(*g) == expected);
        self.nft.set(Some(Known {
            name: table.name.clone(),
            fingerprint: table.fingerprint(),
            structure,
            digests,
            generation,
            ruleset: Some(Arc::clone(wanted)),
        }));
    }

    fn run_nft(&mut self, text: String) -> Result<(), NftError> {
        let shared = self.nft.shared.clone();
        program::run(&["-f", "-"], text, |child| shared.started(child))?;
        Ok(())
    }

    fn send_elements(&mut self, messages: &[Message]) -> Result<(), NftError> {
        self.netfilter
            .transaction(SUBSYSTEM, messages)
            .map_err(NftError::Elements)
    }

    /// Removes our table.
    pub(crate) fn delete_nft(&mut self, name: &str) -> Result<(), NftError> {
        build::check_name(name)?;
        if self.nft.known.as_ref().is_some_and(|k| k.name == name) {
            self.nft.set(None);
        }
        self.run_nft(format!("delete table inet {name}\n"))
    }
}

/// The elements that a text leaves out.
fn messages_for(ruleset: &Ruleset, fill: Fill) -> Vec<Message> {
    let is_left_out = |(_, c): &(&String, &Collection)| !fill.takes(c);
    ruleset
        .collections
        .iter()
        .filter(is_left_out)
        .flat_map(|(name, collection)| {
            let mut messages = Messages::new(&ruleset.name, name, collection, true);
            for item in collection.elements().into_iter().flat_map(|e| e.iter()) {
                messages.push(&item);
            }
            messages.finish()
        })
        .collect()
}
