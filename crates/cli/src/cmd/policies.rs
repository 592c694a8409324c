//! `uplinkctl policies`.

use uplinkd_api::Client;

use crate::{args::PoliciesArgs, exit::Exit, output, render};

/// Lists the policies.
pub(crate) async fn run(client: &Client, args: &PoliciesArgs) -> Exit {
    match client.policies().await {
        Ok(policies) => {
            let _ = output::data(&if args.json {
                render::json::pretty(&policies)
            } else {
                render::policies::text(&policies)
            });
            Exit::Yes
        }
        Err(error) => output::client_error(&error),
    }
}
