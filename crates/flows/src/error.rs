//! Why TCP connections cannot be watched.

use std::{error::Error, io};

use nix::errno::Errno;
use thiserror::Error;

/// Why TCP connections cannot be watched. Lines are judged without then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FlowsError {
    /// The process may not.
    #[error("this process may not load programs into the kernel (CAP_BPF and CAP_NET_ADMIN)")]
    Forbidden,
    /// The kernel has no hook that goes with the process.
    #[error("this kernel has no tcx hooks; those from 6.6 on do")]
    TooOld,
    /// The object is for little-endian machines.
    #[error("the program is compiled for little-endian machines only")]
    OtherEndian,
    /// Anything else.
    #[error("cannot {what}: {why}")]
    Refused {
        /// What could not be done, to which object.
        what: String,
        /// In the kernel's words.
        why: String,
    },
}

impl FlowsError {
    /// From what the loader says.
    pub(crate) fn of(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        match errno(error) {
            Some(Errno::EPERM | Errno::EACCES) => Self::Forbidden,
            _ => Self::Refused {
                what: what.into(),
                why: whole(error),
            },
        }
    }
}

/// The kernel's own number, wherever it stands in the chain of causes.
pub(crate) fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let mut chain = std::iter::successors(Some(error), |e| (*e).source());
    let code = chain.find_map(|e| e.downcast_ref::<io::Error>()?.raw_os_error())?;
    Some(Errno::from_raw(code))
}

/// All causes on one line, and no more of them than fits one: the kernel's verifier may say pages.
fn whole(error: &(dyn Error + 'static)) -> String {
    const LENGTH_MAX: usize = 300;
    let chain = std::iter::successors(Some(error), |e| (*e).source());
    let all: Vec<_> = chain.map(ToString::to_string).collect();
    let words: Vec<_> = all.iter().flat_map(|t| t.split_whitespace()).collect();
    words.join(" ").chars().take(LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Error)]
    #[error("map create")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_missing_right_is_told_from_other_refusals() {
        let of = |errno: Errno| FlowsError::of("load it", &Outer(errno.into()));
        assert_eq!(of(Errno::EPERM), FlowsError::Forbidden);
        let other = of(Errno::E2BIG).to_string();
        assert!(other.starts_with("cannot load it: map create"), "{other}");
    }
}
