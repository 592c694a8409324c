//! What is there of our table, compared with what we remember of it.

use nix::libc;
use uplinkd_model::kernel_state::NftState;

use super::{NftError, apply::list};
use crate::{Kernel, netlink::Message};

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETTABLE`.
const GET_TABLE: u16 = 10 << 8 | 1;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// `struct nfgenmsg` for the family `inet`.
const INET: [u8; 4] = [1, 0, 0, 0];

impl Kernel {
    /// Whether there is a table of our name, and whether it is as we put it.
    pub(crate) fn nft_state(&mut self, name: &str) -> Result<NftState, NftError> {
        if !self.has_nft_table(name) {
            return Ok(NftState::Absent);
        }
        let listing = list(name)?;
        let known = self.nft.known.as_ref().filter(|k| k.table.name == name);
        Ok(match known {
            None => NftState::Altered {
                found: "a table that we do not remember putting there".to_owned(),
            },
            Some(known) if known.listing == listing => NftState::Holds(known.table.clone()),
            Some(known) => NftState::Altered {
                found: difference(&known.listing, &listing),
            },
        })
    }

    /// Asked by netlink, which says so by number; `nft` would say it in words.
    pub(crate) fn has_nft_table(&mut self, name: &str) -> bool {
        let message = Message::new(GET_TABLE, 0, &INET).str(TABLE_NAME, name);
        match self.netfilter.ask(message) {
            // Any other refusal (no right, no nf_tables) is left to `nft` to explain.
            Err(e) => e.errno != libc::ENOENT,
            Ok(_) => true,
        }
    }
}

/// The first line that is not what it was.
fn difference(expected: &str, found: &str) -> String {
    let mut expected = expected.lines().map(str::trim);
    let mut found = found.lines().map(str::trim);
    loop {
        match (expected.next(), found.next()) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return format!("`{b}` where we put `{a}`"),
            (Some(a), None) => return format!("the end where we put `{a}`"),
            (None, Some(b)) => return format!("`{b}` after the end of what we put"),
            (None, None) => return "other white space".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference("a\n\tb\nc", "a\n\tx\nc"), "`x` where we put `b`");
        assert_eq!(difference("a\nb", "a"), "the end where we put `b`");
        assert_eq!(difference("a", "a\nb"), "`b` after the end of what we put");
        assert_eq!(difference("a ", "a"), "other white space");
    }
}
