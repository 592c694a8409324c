//! From targets to the settled state of an uplink: quorum, rise and fall, and doubt.

use uplinkd_model::{Health, ProbeSpec, Reason, Target};

use crate::probe::{TargetState, TargetVerdict};

/// Judges an uplink whose link is usable. Doubt keeps what is: an uplink is never cut, and never
/// trusted again, because something is not known yet.
///
/// `targets` holds those that have an address at the moment, with their states.
pub(crate) fn judge(
    spec: &ProbeSpec,
    targets: &[(Target, &TargetState)],
    before: Health,
) -> (Health, Reason) {
    let deciding: Vec<TargetVerdict> = targets
        .iter()
        .filter(|(t, _)| spec.decides(*t))
        .map(|(_, s)| s.verdict())
        .collect();
    if deciding.is_empty() {
        return (Health::Up, Reason::LinkOnly);
    }
    let total = deciding.len();
    let quorum = spec.quorum.min(total);
    let passing = deciding
        .iter()
        .filter(|v| **v == TargetVerdict::Pass)
        .count();
    let failing = deciding
        .iter()
        .filter(|v| **v == TargetVerdict::Fail)
        .count();
    if passing >= quorum {
        return (Health::Up, Reason::TargetsAnswer { passing, total });
    }
    if total - failing < quorum {
        let gateway = targets
            .iter()
            .find(|(t, _)| *t == Target::Gateway && !spec.decides(*t))
            .map(|(_, s)| s.verdict());
        let gateway_answers = match gateway {
            Some(TargetVerdict::Pass) => Some(true),
            Some(TargetVerdict::Fail) => Some(false),
            Some(TargetVerdict::Unknown) | None => None,
        };
        return (
            Health::Down,
            Reason::TargetsSilent {
                passing,
                total,
                quorum,
                gateway_answers,
            },
        );
    }
    (before, Reason::Probing { passing, quorum })
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;
    use crate::probe::TargetState;

    fn spec(quorum: usize) -> ProbeSpec {
        let (interval, timeout) = (Duration::from_millis(100), Duration::from_millis(100));
        ProbeSpec {
            targets: vec![],
            quorum,
            interval,
            timeout,
            fall: 3,
            rise: 5,
        }
    }

    fn host(n: u8) -> Target {
        Target::Icmp(IpAddr::from([198, 18, 0, n]))
    }

    fn state(verdict: TargetVerdict) -> TargetState {
        let mut state = TargetState::default();
        match verdict {
            TargetVerdict::Unknown => {}
            TargetVerdict::Pass => state.answered(Duration::from_millis(1), &spec(1)),
            TargetVerdict::Fail => (0..3).for_each(|_| state.lost(&spec(1))),
        }
        state
    }

    fn health(quorum: usize, targets: &[(Target, TargetVerdict)], before: Health) -> Health {
        let asked = targets.iter().map(|(t, _)| *t).collect();
        let spec = ProbeSpec {
            targets: asked,
            ..spec(quorum)
        };
        let states: Vec<_> = targets.iter().map(|(t, v)| (*t, state(*v))).collect();
        judge(
            &spec,
            &states.iter().map(|(t, s)| (*t, s)).collect::<Vec<_>>(),
            before,
        )
        .0
    }

    use TargetVerdict::{Fail, Pass, Unknown};

    #[test]
    fn the_gateway_alone_does_not_prove_the_internet() {
        assert_eq!(
            health(1, &[(Target::Gateway, Pass), (host(1), Fail)], Health::Up),
            Health::Down
        );
    }

    #[test]
    fn a_gateway_that_never_answers_does_not_condemn_the_line() {
        assert_eq!(
            health(1, &[(Target::Gateway, Fail), (host(1), Pass)], Health::Up),
            Health::Up
        );
    }

    #[test]
    fn where_it_is_the_only_target_the_gateway_decides() {
        assert_eq!(
            health(1, &[(Target::Gateway, Fail)], Health::Up),
            Health::Down
        );
        assert_eq!(
            health(1, &[(Target::Gateway, Pass)], Health::Down),
            Health::Up
        );
    }

    #[test]
    fn the_quorum_counts_answers_not_silence() {
        assert_eq!(
            health(
                2,
                &[(host(1), Pass), (host(2), Fail), (host(3), Pass)],
                Health::Down
            ),
            Health::Up
        );
        assert_eq!(
            health(
                2,
                &[(host(1), Pass), (host(2), Fail), (host(3), Fail)],
                Health::Up
            ),
            Health::Down
        );
    }

    #[test]
    fn doubt_keeps_what_is() {
        for before in [Health::Unknown, Health::Up, Health::Down] {
            assert_eq!(
                health(1, &[(host(1), Unknown), (host(2), Fail)], before),
                before
            );
        }
    }

    #[test]
    fn without_targets_the_link_decides() {
        assert_eq!(health(1, &[], Health::Unknown), Health::Up);
    }
}
