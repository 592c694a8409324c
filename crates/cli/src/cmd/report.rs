//! `uplinkctl report`.

use uplinkd_api::{Client, Format, ReportQuery};

use super::bug;
use crate::{args::ReportArgs, exit::Exit, output, render};

/// Shows how the uplinks were over a month.
pub(crate) async fn run(client: &Client, args: &ReportArgs) -> Exit {
    if args.bug {
        return bug::run(client, args).await;
    }
    let query = ReportQuery {
        month: args.month.clone().flatten(),
        format: Format::Json,
    };
    let report = match client.report(&query).await {
        Ok(report) => report,
        Err(error) => return output::client_error(&error),
    };
    if let Some(trouble) = &report.trouble {
        output::note(&format!(
            "note: nothing is written at the moment: {trouble}"
        ));
    }
    let _ = output::data(&match (args.json, args.csv) {
        (true, _) => render::json::pretty(&report),
        (false, true) => report.to_csv(),
        (false, false) => render::report::text(&report),
    });
    Exit::Yes
}
