//! Who is told of what happens, as it goes over the wire.

use uplinkd_api::{ApiError, NotifyResult, NotifyStatus, NotifyTested};
use uplinkd_notify::{Notifier, Tested};
use uplinkd_web::Refused;

/// The state of all channels.
pub(crate) fn notify_status(notifier: &Notifier) -> Vec<NotifyStatus> {
    let status = |(channel, figures): (String, uplinkd_notify::Figures)| NotifyStatus {
        channel,
        sent: figures.sent,
        failed: figures.failed,
        dropped: figures.dropped,
        waiting: figures.waiting as u64,
        problem: figures.problem,
    };
    notifier.figures().into_iter().map(status).collect()
}

/// Whether there is something to be tested.
///
/// # Errors
/// Where nobody is told, or there is no channel of that name.
pub(crate) fn notify_testable(notifier: &Notifier, channel: Option<&str>) -> Result<(), Refused> {
    let names: Vec<_> = notifier.channels().collect();
    match channel {
        None if names.is_empty() => {
            let hint =
                "[notify.hooks], [notify.webhook.NAME] and [notify.mail] in the file name channels";
            let error = ApiError::new("nobody is to be told").with_hint(hint);
            Err(Refused::Conflict(error))
        }
        Some(name) if !names.contains(&name) => {
            let hint = match names.is_empty() {
                true => "there are none".to_owned(),
                false => format!("there are: {}", names.join(", ")),
            };
            let error = ApiError::new(format!("there is no channel {name:?}")).with_hint(hint);
            Err(Refused::NotFound(error))
        }
        None | Some(_) => Ok(()),
    }
}

/// What came of a test.
pub(crate) fn notify_tested(all: Vec<Tested>) -> NotifyTested {
    let result = |tested: Tested| NotifyResult {
        channel: tested.channel,
        part: tested.part,
        took_ms: (tested.took.as_secs_f64() * 1e6).round() / 1e3,
        problem: tested.problem,
    };
    NotifyTested {
        told: all.iter().all(|t| t.problem.is_none()),
        results: all.into_iter().map(result).collect(),
    }
}
