//! `uplinkctl notify-test`.

use uplinkd_api::Client;

use crate::{args::NotifyTestArgs, exit::Exit, output, render};

/// Tells all channels, or one, that this is a test. Ends with 1 where one of them was not told.
pub(crate) async fn test(client: &Client, args: &NotifyTestArgs) -> Exit {
    let tested = client.notify_test(args.channel.as_deref(), args.why.as_deref());
    match tested.await {
        Ok(tested) => {
            let _ = output::data(&match args.json {
                true => render::json::pretty(&tested),
                false => render::notify::text(&tested),
            });
            match tested.told {
                true => Exit::Yes,
                false => Exit::No,
            }
        }
        Err(error) => output::client_error(&error),
    }
}
