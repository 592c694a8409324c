//! What sets that fill themselves hold: asked by key, and emptied.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use nix::libc;
use uplinkd_model::Family;

use super::{
    element::question,
    ruleset::digit,
    wire::{INET, SET, SUBSYSTEM, TABLE, message},
};
use crate::{
    Kernel,
    encode::octets,
    netlink::{KernelError, Message},
};

/// Whether a set fills itself, by its name: sticky choices, the addresses that resolvers find, and
/// what is remembered for seconds.
pub(crate) fn is_dynamic(name: &str) -> bool {
    let prefixes = ["sticky4_", "sticky6_", "dns4_", "dns6_"];
    MOMENTARY.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// The own first packets that were not heard of again, and the answers that are kept out.
const MOMENTARY: [&str; 3] = ["unheard4", "answers4", "answers6"];

impl Kernel {
    /// The names, without the family's digit, of the sets filled by resolvers that hold an address.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where there is no such table.
    pub fn domain_sets_holding(
        &mut self,
        table: &str,
        address: IpAddr,
    ) -> Result<BTreeSet<String>, KernelError> {
        let prefix = format!("dns{}_", digit(Family::of(address)));
        let mut holding = BTreeSet::new();
        for set in self.set_names(table)? {
            if let Some(name) = set.strip_prefix(&prefix)
                && self.has_element(table, &set, &octets(address))?
            {
                holding.insert(name.to_owned());
            }
        }
        Ok(holding)
    }

    /// The slots of the uplinks that an outlet has given to new connections of a source before, and
    /// that it will give again. Usually one or none.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where there is no such table.
    pub fn sticky_choices(
        &mut self,
        table: &str,
        outlet: u16,
        source: IpAddr,
        destination: IpAddr,
    ) -> Result<BTreeSet<u16>, KernelError> {
        let prefix = format!("sticky{}_{outlet}_", digit(Family::of(source)));
        let pair = [octets(source), octets(destination)].concat();
        let mut slots = BTreeSet::new();
        for set in self.set_names(table)? {
            let Some(slot) = set.strip_prefix(&prefix).and_then(|s| s.parse().ok()) else {
                continue;
            };
            // The kernel refuses a key of the wrong length.
            for key in [&octets(source), &pair] {
                match self.has_element(table, &set, key) {
                    Ok(true) => {
                        slots.insert(slot);
                    }
                    Ok(false) => {}
                    Err(e) if e.errno == libc::EINVAL => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(slots)
    }

    /// How many elements each of the sets that fill themselves holds now, by name.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or where there is no such table.
    pub fn dynamic_sets(&mut self, table: &str) -> Result<BTreeMap<String, usize>, KernelError> {
        let names = self.set_names(table)?;
        let mut counts = BTreeMap::new();
        for set in names.into_iter().filter(|n| is_dynamic(n)) {
            let replies = self.netfilter.dump(question(table, &set, None))?;
            let elements = replies
                .iter()
                .map(|r| super::element::elements(&r.body).count());
            counts.insert(set, elements.sum());
        }
        Ok(counts)
    }

    fn has_element(&mut self, table: &str, set: &str, key: &[u8]) -> Result<bool, KernelError> {
        match self.netfilter.ask(question(table, set, Some(key))) {
            Ok(_) => Ok(true),
            // It may also have expired a moment ago, or the set may have gone.
            Err(e) if e.errno == libc::ENOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Empties the sets of an outlet's sticky choices of these uplinks, all at once. What is not there
    /// is forgotten already.
    pub(crate) fn forget_sticky(
        &mut self,
        table: &str,
        outlet: u16,
        slots: &[u16],
    ) -> Result<(), KernelError> {
        let there = match self.set_names(table) {
            Err(e) if e.errno == libc::ENOENT => return Ok(()),
            other => other?,
        };
        let names = slots
            .iter()
            .flat_map(|slot| [4, 6].map(|digit| format!("sticky{digit}_{outlet}_{slot}")));
        let messages: Vec<_> = names
            .filter(|name| there.contains(name))
            .map(|name| {
                // Without elements, all of them are meant.
                Message::new(message::DELETE_ELEMENTS, 0, &INET)
                    .str(TABLE, table)
                    .str(SET, &name)
            })
            .collect();
        self.netfilter.transaction(SUBSYSTEM, &messages)
    }
}
