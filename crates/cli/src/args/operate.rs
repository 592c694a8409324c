//! The command line of what changes something for a while.

use std::time::Duration;

use clap::Args as ClapArgs;
use uplinkd_api::{CONFIRM_MAX, SPAN_MAX};

/// Where a reason is given.
#[derive(Debug, ClapArgs)]
pub(crate) struct Reasoned {
    /// Why: kept in the event log beside who did it
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DrainArgs {
    /// The uplink
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: String,
    /// For how long: 2h, 30m, 1h30m; without it until `undrain`
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(crate) span: Option<Duration>,
    #[command(flatten)]
    pub(crate) reasoned: Reasoned,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UndrainArgs {
    /// The uplink
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: String,
    #[command(flatten)]
    pub(crate) reasoned: Reasoned,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PreferArgs {
    /// The uplink
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: String,
    /// The word `for`, as one says it
    #[arg(value_name = "for", value_parser = ["for"], hide_possible_values = true)]
    pub(crate) word: String,
    /// For how long: 2h, 30m, 1h30m
    #[arg(value_name = "TIME", value_parser = span)]
    pub(crate) span: Duration,
    #[command(flatten)]
    pub(crate) reasoned: Reasoned,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ProbeArgs {
    /// The uplink
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: String,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NotifyTestArgs {
    /// Only this one: hooks, mail, or the name of a webhook
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// Why: told beside who ordered it
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReloadArgs {
    /// Go back after this time unless `uplinkctl confirm` comes first: 60s, 5m
    #[arg(long, value_name = "TIME", value_parser = trial)]
    pub(crate) confirm: Option<Duration>,
    #[command(flatten)]
    pub(crate) reasoned: Reasoned,
}

fn span(text: &str) -> Result<Duration, String> {
    within(text, SPAN_MAX, "a year")
}

fn trial(text: &str) -> Result<Duration, String> {
    within(text, CONFIRM_MAX, "a day")
}

fn within(text: &str, most: u64, word: &str) -> Result<Duration, String> {
    let Ok(span) = humantime::parse_duration(text) else {
        return Err("write a time with its unit: 2h, 30m, 45s".to_owned());
    };
    // Whole seconds go over the wire.
    if span.subsec_nanos() != 0 || !(1..=most).contains(&span.as_secs()) {
        return Err(format!("whole seconds, from 1s to {word}, are possible"));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_are_bounded() {
        assert_eq!(span("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(trial("60s"), Ok(Duration::from_secs(60)));
        for bad in ["", "2", "0s", "1500ms", "2 years", "-1s", "soon"] {
            assert!(span(bad).is_err(), "{bad}");
        }
        assert!(trial("1d").is_ok() && trial("25h").is_err());
    }
}
