//! `uplinkctl budget`.

use uplinkd_api::Client;

use crate::{args::BudgetArgs, exit::Exit, output};

/// Sets what an uplink has used of its budget.
pub(crate) async fn run(client: &Client, args: &BudgetArgs) -> Exit {
    let done = client.set_budget(&args.uplink, args.set.unwrap_or(0)).await;
    output::done(&done, |done| &done.text, args.json)
}
