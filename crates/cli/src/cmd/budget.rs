//! `uplinkctl budget`.

use uplinkd_api::Client;

use crate::{args::BudgetArgs, exit::Exit, output, render};

/// Sets what an uplink has used of its budget.
pub(crate) async fn run(client: &Client, args: &BudgetArgs) -> Exit {
    match client.set_budget(&args.uplink, args.set.unwrap_or(0)).await {
        Ok(done) => {
            let _ = output::data(&if args.json {
                render::json::pretty(&done)
            } else {
                format!("{}\n", render::words::escape(&done.text))
            });
            Exit::Yes
        }
        Err(error) => output::client_error(&error),
    }
}
