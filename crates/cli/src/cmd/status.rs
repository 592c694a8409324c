//! `uplinkctl status`.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use uplinkd_api::{Client, State, Status};

use crate::{args::StatusArgs, exit::Exit, output, render};

const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Shows the status, once or until interrupted.
pub(crate) async fn run(client: &Client, args: &StatusArgs) -> Exit {
    if args.watch {
        return watch(client, args).await;
    }
    match client.status().await {
        Ok(status) => {
            let text = if args.json {
                render::json::pretty(&status)
            } else {
                render::status::text(&status)
            };
            // Whoever reads no further still gets the exit code.
            let _ = output::data(&text);
            verdict(&status)
        }
        Err(error) => output::client_error(&error),
    }
}

/// Goes on while the daemon is away, since that is when one watches.
async fn watch(client: &Client, args: &StatusArgs) -> Exit {
    let mut ticks = interval(WATCH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Exit::Yes;
    loop {
        ticks.tick().await;
        let answer = client.status().await;
        if !args.json {
            output::begin_page();
        }
        last = match answer {
            Ok(status) => {
                let text = if args.json {
                    render::json::line(&status)
                } else {
                    render::status::text(&status)
                };
                if !output::data(&text) {
                    return last;
                }
                verdict(&status)
            }
            Err(error) => output::client_error(&error),
        };
    }
}

fn verdict(status: &Status) -> Exit {
    match status.state {
        State::Up | State::Degraded | State::Starting => Exit::Yes,
        State::Down => Exit::No,
    }
}
