//! `uplinkctl failback`.

use uplinkd_api::Client;

use crate::{args::FailbackArgs, exit::Exit, output};

/// Lets a group return to its better uplinks.
pub(crate) async fn run(client: &Client, args: &FailbackArgs) -> Exit {
    let done = client.failback(&args.group).await;
    output::done(&done, |done| &done.text, args.json)
}
