//! What came of a test of who is told, and what the status says of them.

use std::fmt::Write as _;

use uplinkd_api::{NotifyResult, NotifyStatus, NotifyTested};

use super::words::{BAD, GOOD, escape, milliseconds, styled};

/// Each channel and hook on a line.
pub(crate) fn text(tested: &NotifyTested) -> String {
    let name = |result: &NotifyResult| match &result.part {
        Some(part) => escape(&format!("{}/{part}", result.channel)),
        None => escape(&result.channel),
    };
    let results = &tested.results;
    let width = results.iter().map(|r| name(r).chars().count()).max();
    let width = width.unwrap_or_default();
    let mut out = String::new();
    for result in results {
        let said = match &result.problem {
            None => format!(
                "{} in {}",
                styled(GOOD, "told"),
                milliseconds(result.took_ms)
            ),
            Some(problem) => styled(BAD, &format!("not told: {}", escape(problem))),
        };
        let _ = writeln!(out, "{:width$}  {said}", name(result));
    }
    out
}

/// A channel that does not work, as half a sentence; none of one that does.
pub(crate) fn trouble(status: &NotifyStatus) -> Option<String> {
    let problem = status.problem.as_deref()?;
    let waiting = match status.waiting {
        0 => String::new(),
        1 => ", and an event waits".to_owned(),
        waiting => format!(", and {waiting} events wait"),
    };
    let (channel, problem) = (escape(&status.channel), escape(problem));
    Some(format!(
        "{channel} could not be told all{waiting}: {problem}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_and_hook_has_a_line() {
        let result = |channel: &str, part: Option<&str>, problem: Option<&str>| NotifyResult {
            channel: channel.to_owned(),
            part: part.map(str::to_owned),
            took_ms: 12.5,
            problem: problem.map(str::to_owned),
        };
        let tested = NotifyTested {
            told: false,
            results: vec![
                result("hooks", Some("10-mqtt"), None),
                result("phone", None, Some("ntfy.sh: HTTP status 401\u{1b}")),
            ],
        };
        let plain = anstream::adapter::strip_str(&text(&tested)).to_string();
        assert_eq!(
            plain,
            "hooks/10-mqtt  told in 12.5 ms\nphone          not told: ntfy.sh: HTTP status 401\\u{1b}\n"
        );
    }

    #[test]
    fn only_what_does_not_work_is_trouble() {
        let mut status = NotifyStatus {
            channel: "phone".to_owned(),
            sent: 1,
            failed: 2,
            dropped: 0,
            waiting: 3,
            problem: None,
        };
        assert_eq!(trouble(&status), None);
        status.problem = Some("connection refused".to_owned());
        assert_eq!(
            trouble(&status).unwrap(),
            "phone could not be told all, and 3 events wait: connection refused"
        );
    }
}
