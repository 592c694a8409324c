//! Counters with names: made, taken away and read, as messages of our own.

use std::collections::BTreeMap;

use super::wire::{FIXED, INET, TABLE, message, object as attribute};
use crate::{
    Kernel,
    netlink::{KernelError, Message, Reply, find, flags, text},
};

/// What the counters of policies are called, before the policy's name.
pub(super) const OF_POLICY: &str = "policy_";

/// Makes one, at zero.
pub(super) fn create(table: &str, name: &str) -> Message {
    named(message::NEW_OBJECT, flags::CREATE, table, name).nest(attribute::CONTENT, |_| {})
}

/// Takes one away that nothing names.
pub(super) fn delete(table: &str, name: &str) -> Message {
    named(message::DELETE_OBJECT, 0, table, name)
}

fn named(kind: u16, how: u16, table: &str, name: &str) -> Message {
    Message::new(kind, how, &INET)
        .str(TABLE, table)
        .str(attribute::NAME, name)
        .attr(attribute::KIND, &attribute::COUNTER.to_be_bytes())
}

impl Kernel {
    /// How many new connections each policy that is counted has decided since it is there, by
    /// the policy's name. Nothing where there is no table of that name.
    ///
    /// # Errors
    /// When the kernel does not list counters.
    pub fn policy_connections(
        &mut self,
        table: &str,
    ) -> Result<BTreeMap<String, u64>, KernelError> {
        let counted = self.counted(table)?.into_iter();
        let of_policy = |(name, packets): (String, u64)| {
            let policy = name.strip_prefix(OF_POLICY)?;
            Some((policy.to_owned(), packets))
        };
        Ok(counted.filter_map(of_policy).collect())
    }

    /// The packets that each counter of a table has counted.
    pub(super) fn counted(&mut self, table: &str) -> Result<BTreeMap<String, u64>, KernelError> {
        let question = Message::new(message::GET_OBJECT, 0, &INET)
            .str(TABLE, table)
            .attr(attribute::KIND, &attribute::COUNTER.to_be_bytes());
        let replies = self.netfilter.dump(question)?;
        Ok(replies.iter().filter_map(|r| count(r, table)).collect())
    }
}

/// One counter; none where it is something else.
fn count(reply: &Reply, table: &str) -> Option<(String, u64)> {
    let attributes = reply.body.get(FIXED..)?;
    let kind = find(attributes, attribute::KIND)?;
    if text(find(attributes, TABLE)?) != table || kind != attribute::COUNTER.to_be_bytes() {
        return None;
    }
    let name = text(find(attributes, attribute::NAME)?);
    let packets = find(find(attributes, attribute::CONTENT)?, attribute::PACKETS)?;
    let packets = u64::from_be_bytes(*packets.first_chunk()?);
    Some((name, packets))
}
