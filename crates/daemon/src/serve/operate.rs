//! Orders: whether they make sense, and what is answered.

use uplinkd_api::{ApiError, Operated, WishStatus};
use uplinkd_core::{Controller, Wish, Wishes};
use uplinkd_model::{Config, Order, UplinkName, operate::span_in_words};
use uplinkd_web::{Operation, Refused};

use super::Clock;

/// What the core is to be told.
///
/// # Errors
/// Where there is no such uplink, or nothing to do.
pub(crate) fn order(
    config: &Config,
    wishes: &Wishes,
    operation: Operation,
) -> Result<Order, Refused> {
    let is_drained = |uplink: &UplinkName| wishes.drained.iter().any(|w| w.uplink == *uplink);
    match operation {
        Operation::Drain(name, span) => Ok(Order::Drain {
            uplink: known(config, &name)?,
            span,
        }),
        Operation::Undrain(name) => {
            let uplink = known(config, &name)?;
            match is_drained(&uplink) {
                true => Ok(Order::Undrain { uplink }),
                false => conflict(format!("{uplink} is not drained"), None),
            }
        }
        Operation::Prefer(name, span) => {
            let uplink = known(config, &name)?;
            let hint = format!("`uplinkctl undrain {uplink}` ends that");
            match is_drained(&uplink) {
                true => conflict(format!("{uplink} is drained"), Some(hint)),
                false => Ok(Order::Prefer { uplink, span }),
            }
        }
        Operation::Unprefer => match &wishes.preferred {
            Some(_) => Ok(Order::Unprefer),
            None => conflict("no uplink is preferred".to_owned(), None),
        },
        Operation::Reload(_) | Operation::Confirm | Operation::Rollback => {
            conflict("this is no order for an uplink".to_owned(), None)
        }
    }
}

fn known(config: &Config, name: &str) -> Result<UplinkName, Refused> {
    let mut uplinks = config.uplinks.iter();
    let found = uplinks.find(|u| u.name.as_str() == name);
    let found = found.map(|u| u.name.clone());
    found.ok_or_else(|| no_such_uplink(config, name))
}

/// There is no uplink of this name.
pub(crate) fn no_such_uplink(config: &Config, name: &str) -> Refused {
    let names: Vec<_> = config.uplinks.iter().map(|u| u.name.as_str()).collect();
    Refused::NotFound(
        ApiError::new(format!("there is no uplink {name:?}"))
            .with_hint(format!("there are: {}", names.join(", "))),
    )
}

fn conflict(text: String, hint: Option<String>) -> Result<Order, Refused> {
    let error = ApiError::new(text);
    Err(Refused::Conflict(match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }))
}

/// What an order that was given has come to.
pub(crate) fn ordered(order: &Order, controller: &Controller, clock: &Clock) -> Operated {
    let lines = controller.snapshot().lines;
    let of = |uplink: &UplinkName| {
        let lines = lines.iter().filter(|l| l.name == *uplink && !l.absent);
        lines.cloned().collect::<Vec<_>>()
    };
    match order {
        Order::Drain { uplink, span } => {
            let own = of(uplink);
            let span = span.map(|s| format!(" for {}", span_in_words(s)));
            let span = span.unwrap_or_else(|| format!(" until `uplinkctl undrain {uplink}`"));
            // In each family others serve, or none does.
            let then = match own.iter().any(|l| l.in_service && !l.is_idle) {
                true => "; nothing else works at the moment, so that it goes on serving meanwhile",
                false => "; what it carries stays",
            };
            Operated {
                text: format!("{uplink} takes no new connections{span}{then}"),
                until: own
                    .iter()
                    .find_map(|l| Some(clock.unix(l.drained.as_ref()?.until?))),
            }
        }
        Order::Undrain { uplink } => Operated {
            text: format!("{uplink} takes new connections again"),
            until: None,
        },
        Order::Prefer { uplink, span } => {
            let own = of(uplink);
            let then = match own.iter().any(|l| l.in_service) {
                true => "",
                false => "; it does not work at the moment: others serve until it does",
            };
            let span = span_in_words(*span);
            Operated {
                text: format!(
                    "new connections use {uplink} for {span}, in every group that has it{then}"
                ),
                until: own
                    .iter()
                    .find_map(|l| Some(clock.unix(l.preferred.as_ref()?.until?))),
            }
        }
        Order::Unprefer => Operated {
            text: "no uplink is preferred any more".to_owned(),
            until: None,
        },
    }
}

/// A wish in the words of the API.
pub(crate) fn wish(wish: &Wish, clock: &Clock) -> WishStatus {
    WishStatus {
        who: wish.by.who.clone(),
        why: wish.by.why.clone(),
        until: wish.until.map(|at| clock.unix(at)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uplinkd_core::Time;
    use uplinkd_model::By;

    use super::*;

    #[test]
    fn an_order_needs_an_uplink_and_something_to_do() {
        let text = "[uplink.isp1]\ninterface = \"a\"\n[uplink.isp2]\ninterface = \"b\"\n";
        let parsed = uplinkd_config::parse("u.toml", text).unwrap();
        let config = parsed.to_config(&Default::default(), &Default::default());
        let idle = Wishes::default();
        let wish = Wish {
            uplink: UplinkName::new("isp1").unwrap(),
            since: Time::default(),
            until: None,
            by: By::new("root"),
        };
        let busy = Wishes {
            drained: vec![wish.clone()],
            preferred: Some(wish),
        };
        let hour = Duration::from_secs(3600);
        let ask = |wishes: &Wishes, operation| match order(&config, wishes, operation) {
            Ok(_) => 200,
            Err(Refused::NotFound(_)) => 404,
            Err(Refused::Conflict(_)) => 409,
            Err(Refused::Bad(_) | Refused::Unfit(_)) => 400,
        };
        let name = || "isp1".to_owned();
        for (operation, when_idle, when_busy) in [
            (Operation::Drain(name(), None), 200, 200),
            (Operation::Drain("isp3".to_owned(), Some(hour)), 404, 404),
            (Operation::Undrain(name()), 409, 200),
            (Operation::Undrain("isp2".to_owned()), 409, 409),
            (Operation::Prefer(name(), hour), 200, 409),
            (Operation::Prefer("isp2".to_owned(), hour), 200, 200),
            (Operation::Unprefer, 409, 200),
        ] {
            assert_eq!(ask(&idle, operation.clone()), when_idle, "{operation:?}");
            assert_eq!(ask(&busy, operation.clone()), when_busy, "{operation:?}");
        }
    }
}
