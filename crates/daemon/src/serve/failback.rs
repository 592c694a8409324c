//! A person's word that a group may return to its better tier.

use uplinkd_api::{ApiError, Failback};
use uplinkd_core::OutletSnapshot;
use uplinkd_web::Refused;

/// What will happen, where something waits.
///
/// # Errors
/// Where there is no such group, or nothing of it waits.
pub(crate) fn failback(outlets: &[OutletSnapshot], name: &str) -> Result<Failback, Refused> {
    let is_it = |o: &&OutletSnapshot| o.name == name || o.group.as_deref() == Some(name);
    let meant: Vec<_> = outlets.iter().filter(is_it).collect();
    if meant.is_empty() {
        let mut names: Vec<_> = outlets
            .iter()
            .filter(|o| o.table.is_some())
            .map(|o| o.name.as_str())
            .collect();
        names.dedup();
        return Err(Refused::NotFound(
            ApiError::new(format!("there is no group {name:?}"))
                .with_hint(format!("there are: {}", names.join(", "))),
        ));
    }
    let waiting: Vec<_> = meant
        .iter()
        .filter_map(|o| {
            let tier = o.waiting?.tier + 1;
            Some(format!(
                "{} returns to tier {tier} with {}",
                o.name, o.family
            ))
        })
        .collect();
    if waiting.is_empty() {
        return Err(Refused::Conflict(ApiError::new(format!(
            "nothing of {name} waits to return to a better tier"
        ))));
    }
    Ok(Failback {
        group: name.to_owned(),
        text: waiting.join("; "),
    })
}

#[cfg(test)]
mod tests {
    use uplinkd_core::{OutletState, Time, Waiting};
    use uplinkd_model::{Family, TableId};

    use super::*;

    fn outlet(name: &str, waiting: bool) -> OutletSnapshot {
        OutletSnapshot {
            name: name.to_owned(),
            code: Some(1),
            table: Some(TableId(7001)),
            group: Some("calls".to_owned()),
            family: Family::V4,
            state: OutletState::Tier {
                index: 1,
                group: Some("calls".to_owned()),
                rank: 2,
            },
            serving: vec![],
            is_preferred: false,
            waiting: waiting.then_some(Waiting {
                tier: 0,
                since: Time::default(),
                until: None,
            }),
            balance: None,
            yielding: vec![],
        }
    }

    #[test]
    fn a_group_is_known_by_its_own_name_and_by_that_of_its_outlets() {
        let outlets = [outlet("calls", false), outlet("calls-or-block", true)];
        for name in ["calls", "calls-or-block"] {
            let done = failback(&outlets, name).unwrap();
            assert_eq!(done.text, "calls-or-block returns to tier 1 with IPv4");
        }
        assert!(matches!(failback(&outlets, "x"), Err(Refused::NotFound(_))));
        let none = [outlet("calls", false)];
        assert!(matches!(
            failback(&none, "calls"),
            Err(Refused::Conflict(_))
        ));
    }
}
