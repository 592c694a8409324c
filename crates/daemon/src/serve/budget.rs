//! A person's word of what an uplink has used of its budget, by the provider's own count.

use uplinkd_api::{ApiError, Budgeted};
use uplinkd_model::{Config, UplinkName, budget::in_words};
use uplinkd_web::Refused;

/// What will count from now on.
///
/// # Errors
/// Where there is no such uplink, or it has no budget.
pub(crate) fn set_used(
    config: &Config,
    name: &str,
    used: u64,
) -> Result<(UplinkName, Budgeted), Refused> {
    let Some(uplink) = config.uplinks.iter().find(|u| u.name.as_str() == name) else {
        let names: Vec<_> = config.uplinks.iter().map(|u| u.name.as_str()).collect();
        return Err(Refused::NotFound(
            ApiError::new(format!("there is no uplink {name:?}"))
                .with_hint(format!("there are: {}", names.join(", "))),
        ));
    };
    let Some(budget) = &uplink.budget else {
        return Err(Refused::Conflict(
            ApiError::new(format!("uplink {name} has no budget"))
                .with_hint(format!("add `[uplink.{name}.budget]` to the file")),
        ));
    };
    let (now, limit) = (in_words(used), in_words(budget.limit));
    let text = format!("{now} of {limit} count as used by {name} in this period");
    Ok((
        uplink.name.clone(),
        Budgeted {
            uplink: name.to_owned(),
            text,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_uplinks_with_a_budget_have_one_to_be_set() {
        let text = "[uplink.isp1]\ninterface = \"a\"\n[uplink.isp2]\ninterface = \"b\"\n\
                    [uplink.isp2.budget]\nlimit = \"5GB\"\n";
        let parsed = uplinkd_config::parse("u.toml", text).unwrap();
        let config = parsed.to_config(&Default::default(), &Default::default());
        let done = set_used(&config, "isp2", 1_500_000_000).unwrap();
        assert_eq!(
            done.1.text,
            "1.5 GB of 5.0 GB count as used by isp2 in this period"
        );
        assert!(matches!(
            set_used(&config, "isp1", 1),
            Err(Refused::Conflict(_))
        ));
        assert!(matches!(
            set_used(&config, "isp3", 1),
            Err(Refused::NotFound(_))
        ));
    }
}
