//! `uplinkctl failback`.

use uplinkd_api::Client;

use crate::{args::FailbackArgs, exit::Exit, output, render};

/// Lets a group return to its better uplinks.
pub(crate) async fn run(client: &Client, args: &FailbackArgs) -> Exit {
    match client.failback(&args.group).await {
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
