//! An error number and the step that it answers, as a meaning. Pure.

use nix::libc;
use uplinkd_model::{Outcome, Step};

use crate::netlink::KernelError;

/// What an answer of the kernel means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// This is what became of the step.
    Settled(Outcome),
    /// Something is there already: whether it is the very same must be looked up.
    Taken(KernelError),
}

/// What the kernel's answer to a step means.
pub(crate) fn meaning(step: &Step, answer: Result<(), KernelError>) -> Meaning {
    let Err(error) = answer else {
        return Meaning::Settled(Outcome::Done);
    };
    match step {
        Step::AddNexthop(_) | Step::AddRoute(_) | Step::AddRule(_)
            if error.errno == libc::EEXIST =>
        {
            Meaning::Taken(error)
        }
        // The kernel says ENODEV for a route whose interface is gone; the route went with it.
        Step::DeleteNexthop(_) | Step::DeleteRoute(_) | Step::DeleteRule(_)
            if [libc::ENOENT, libc::ESRCH, libc::ENODEV].contains(&error.errno) =>
        {
            Meaning::Settled(Outcome::AlreadySo)
        }
        // There was no connection with that mark, or no connection tracking at all: none is left.
        Step::FlushConnections { .. } if error.errno == libc::ENOENT => {
            Meaning::Settled(Outcome::Done)
        }
        Step::SetSysctl { .. }
        | Step::SolicitRouters { .. }
        | Step::AddNexthop(_)
        | Step::ReplaceNexthop(_)
        | Step::DeleteNexthop(_)
        | Step::AddRoute(_)
        | Step::ReplaceRoute(_)
        | Step::DeleteRoute(_)
        | Step::AddRule(_)
        | Step::DeleteRule(_)
        | Step::SetNft(_)
        | Step::DeleteNft { .. }
        | Step::NameTables(_)
        | Step::FlushConnections { .. }
        | Step::MoveConnections { .. }
        | Step::DeleteConnections(_)
        | Step::ReleasePrefix { .. }
        | Step::ForgetSticky { .. } => Meaning::Settled(refused(&error)),
    }
}

/// A refusal in the kernel's words.
pub(crate) fn refused(error: &KernelError) -> Outcome {
    Outcome::Refused {
        errno: error.errno,
        text: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use uplinkd_model::{Family, Mark, NexthopId, Rule, TableId, ids::Proto};

    use super::*;

    fn flush() -> Step {
        Step::FlushConnections {
            mark: Mark::new(1, 1),
            family: None,
        }
    }

    fn check(step: &Step, errno: i32) -> Meaning {
        meaning(step, Err(KernelError::from_errno(errno)))
    }

    #[test]
    fn what_is_gone_already_counts_as_removed() {
        let settled = Meaning::Settled(Outcome::AlreadySo);
        assert_eq!(
            check(&Step::DeleteNexthop(NexthopId(1)), libc::ENOENT),
            settled
        );
        let rule = Rule::lookup(Family::V4, 2000, TableId(7001), Proto(177));
        assert_eq!(check(&Step::DeleteRule(rule), libc::ENOENT), settled);
        let flush = flush();
        assert_eq!(check(&flush, libc::ENOENT), Meaning::Settled(Outcome::Done));
    }

    #[test]
    fn what_exists_already_must_be_compared() {
        let rule = Rule::lookup(Family::V4, 2000, TableId(7001), Proto(177));
        assert!(matches!(
            check(&Step::AddRule(rule), libc::EEXIST),
            Meaning::Taken(_)
        ));
    }

    #[test]
    fn the_near_miss_is_a_refusal() {
        let rule = Rule::lookup(Family::V4, 2000, TableId(7001), Proto(177));
        for (step, errno) in [
            (Step::AddRule(rule.clone()), libc::ENOENT),
            (Step::DeleteRule(rule), libc::EEXIST),
            (Step::DeleteNexthop(NexthopId(1)), libc::EPERM),
            (flush(), libc::EPERM),
        ] {
            let expected = refused(&KernelError::from_errno(errno));
            assert_eq!(check(&step, errno), Meaning::Settled(expected));
        }
    }
}
