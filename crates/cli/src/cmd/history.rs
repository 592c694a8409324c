//! `uplinkctl history`.

use std::time::{SystemTime, UNIX_EPOCH};

use uplinkd_api::{Client, Format, HistoryQuery};

use crate::{args::HistoryArgs, exit::Exit, output, render};

/// Steps that a terminal shows where none is asked for: two screens.
const ROWS: u64 = 48;
const STEPS: [u64; 10] = [10, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 86_400];

/// Shows how an uplink was over time.
pub(crate) async fn run(client: &Client, args: &HistoryArgs) -> Exit {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let ago = |seconds: u64| i64::try_from(now.saturating_sub(seconds)).unwrap_or(0);
    let (since, until) = (args.since.as_secs(), args.until.as_secs());
    let is_for_people = !args.json && !args.csv;
    let rows = since.saturating_sub(until) / ROWS;
    let fitting = || {
        STEPS
            .into_iter()
            .find(|step| *step >= rows)
            .unwrap_or(86_400)
    };
    let step = match (args.step, is_for_people) {
        (Some(step), _) => Some(step.as_secs()),
        (None, true) => Some(fitting()),
        (None, false) => None,
    };
    let query = HistoryQuery {
        uplink: args.uplink.clone(),
        since: Some(ago(since)),
        // What is now is counted, too.
        until: Some(ago(until).saturating_add(i64::from(until == 0))),
        step: step.map(|step| i64::try_from(step).unwrap_or(i64::MAX)),
        format: Format::Json,
    };
    let history = match client.history(&query).await {
        Ok(history) => history,
        Err(error) => return output::client_error(&error),
    };
    if let Some(trouble) = &history.trouble {
        output::note(&format!(
            "note: nothing is written at the moment: {trouble}"
        ));
    }
    if let Some(uplink) = &args.uplink
        && history.series.is_empty()
    {
        output::note(&format!(
            "note: nothing is known of uplink {uplink} in this time"
        ));
    }
    let _ = output::data(&match (args.json, args.csv) {
        (true, _) => render::json::pretty(&history),
        (false, true) => history.to_csv(),
        (false, false) => render::history::text(&history),
    });
    Exit::Yes
}
