//! What we said ourselves, to know it when it is heard.

use std::collections::VecDeque;

/// So many are kept: words that were sent but are not heard (the tap was shut, or full) stay until as
/// many others have come.
const KEPT: usize = 16;

/// Our words on one interface that have not been heard yet, oldest first. More than the last: two may be
/// sent before the first is heard, and whoever took that one for another daemon's would leave it the
/// word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said(VecDeque<Vec<u8>>);

impl Said {
    /// This was sent.
    pub(crate) fn push(&mut self, message: Vec<u8>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(message);
    }

    /// Whether what was heard is ours. What was sent before it will not be heard any more.
    pub(crate) fn is_ours(&mut self, heard: &[u8]) -> bool {
        let Some(at) = self.0.iter().position(|said| said == heard) else {
            return false;
        };
        self.0.drain(..=at);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_in_a_row_are_both_ours() {
        let mut said = Said::default();
        said.push(b"no router".to_vec());
        said.push(b"a router".to_vec());
        assert!(!said.is_ours(b"the daemon's"));
        assert!(said.is_ours(b"no router"));
        assert!(said.is_ours(b"a router"));
        assert!(!said.is_ours(b"a router"), "it is heard once");
    }

    #[test]
    fn words_that_nobody_heard_are_forgotten() {
        let mut said = Said::default();
        for word in 0..=u8::try_from(KEPT).unwrap() {
            said.push(vec![word]);
        }
        assert!(!said.is_ours(&[0]));
        assert!(said.is_ours(&[2]));
        assert!(!said.is_ours(&[1]), "sent before what was heard");
    }
}
