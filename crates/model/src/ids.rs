//! Newtypes for the numbers and names that are easy to mix up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of an uplink, which is also the name of its routing table.
///
/// A letter first, then letters, digits, `_` and `-`, 15 characters at most, and none of the
/// words that `ip` gives a meaning of its own ([`UplinkName::RESERVED`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UplinkName(String);

/// Why a word cannot be an uplink's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("the name is empty")]
    Empty,
    /// More than [`UplinkName::LENGTH_MAX`] characters.
    #[error("the name is longer than {} characters", UplinkName::LENGTH_MAX)]
    TooLong,
    /// Not a letter first, or a character that `ip` or nft would read as something else.
    #[error("`{0}` is not allowed there: a letter first, then letters, digits, `_` and `-`")]
    Character(char),
    /// A word with a meaning of its own where `ip` expects a table.
    #[error("`{0}` already means something to `ip` where it expects a table")]
    Reserved(String),
}

impl UplinkName {
    /// The longest name, in characters: what an interface name may have.
    pub const LENGTH_MAX: usize = 15;
    /// Words that `ip route … table WORD` understands without us.
    pub const RESERVED: [&'static str; 6] = ["main", "local", "default", "unspec", "all", "cache"];

    /// Checks a word and makes it a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule the word breaks.
    pub fn new(word: &str) -> Result<Self, NameError> {
        let Some(first) = word.chars().next() else {
            return Err(NameError::Empty);
        };
        if !first.is_ascii_alphabetic() {
            return Err(NameError::Character(first));
        }
        if let Some(bad) = word
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && *c != '_' && *c != '-')
        {
            return Err(NameError::Character(bad));
        }
        if word.len() > Self::LENGTH_MAX {
            return Err(NameError::TooLong);
        }
        if Self::RESERVED.contains(&word) {
            return Err(NameError::Reserved(word.to_owned()));
        }
        Ok(Self(word.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UplinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for UplinkName {
    type Error = NameError;
    fn try_from(word: String) -> Result<Self, NameError> {
        Self::new(&word)
    }
}

impl From<UplinkName> for String {
    fn from(name: UplinkName) -> Self {
        name.0
    }
}

/// The lasting number of an uplink, from 1: its tables, marks and nexthop ids are made of it.
///
/// A slot stays with its name across restarts (kept in the state directory), so that marks of
/// living connections keep their meaning when the file gains or loses an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u16);

/// A routing table's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId(pub u32);

impl TableId {
    /// The table that everybody else's routes live in.
    pub const MAIN: Self = Self(254);
}

/// A routing rule's priority; lower is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RulePriority(pub u32);

/// The id of a kernel nexthop object or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NexthopId(pub u32);

/// The protocol number that says who put a route, rule or nexthop (`rtm_protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Proto(pub u8);

/// A packet or connection mark under a mask. Bits of `value` outside `mask` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The bits that must be set.
    pub value: u32,
    /// The bits that are looked at.
    pub mask: u32,
}

impl Mark {
    /// A mark in canonical form: bits outside the mask are cleared.
    pub fn new(value: u32, mask: u32) -> Self {
        Self {
            value: value & mask,
            mask,
        }
    }

    /// Whether a packet's or connection's whole mark matches.
    pub fn matches(&self, whole: u32) -> bool {
        whole & self.mask == self.value
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/{:#x}", self.value, self.mask)
    }
}

macro_rules! display_number {
    ($($name:ident),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )* };
}
display_number!(Slot, TableId, RulePriority, NexthopId, Proto);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_ip_would_misread_are_refused() {
        for bad in [
            "",
            "main",
            "local",
            "default",
            "7",
            "9isp",
            "a b",
            "a/b",
            "a.b",
            "ä",
            "abcdefghijklmnop",
        ] {
            assert!(UplinkName::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["isp1", "Fibre", "lte-backup", "a_b", "abcdefghijklmno"] {
            assert!(UplinkName::new(good).is_ok(), "{good:?} was refused");
        }
    }

    #[test]
    fn a_mark_is_canonical_from_construction() {
        assert_eq!(Mark::new(0x1ff, 0xf0), Mark::new(0xf0, 0xf0));
        assert!(Mark::new(0x10, 0xf0).matches(0xab1f));
        assert!(!Mark::new(0x10, 0xf0).matches(0xab2f));
    }
}
