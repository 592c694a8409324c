//! `uplinkctl events`.

use std::{ops::ControlFlow, time::Duration};

use tokio::time::sleep;
use uplinkd_api::{Client, Event, Followed};

use crate::{args::EventsArgs, exit::Exit, output, render};

const RECONNECT_EVERY: Duration = Duration::from_secs(1);

/// Shows what happened and, where wanted, what happens.
pub(crate) async fn run(client: &Client, args: &EventsArgs) -> Exit {
    let events = match client.events(args.since).await {
        Ok(events) => events,
        Err(error) => return output::client_error(&error),
    };
    if events.incomplete {
        output::note("note: some events in between are forgotten already");
    }
    if args.json && !args.follow {
        let _ = output::data(&render::json::pretty(&events));
        return Exit::Yes;
    }
    for event in &events.events {
        if !show(event, args.json) {
            return Exit::Yes;
        }
    }
    if args.follow {
        let last = events.events.last().map(|e| e.id).or(args.since);
        follow(client, args.json, last).await;
    }
    Exit::Yes
}

/// Follows until nobody reads any more. A daemon that is restarted is waited for.
async fn follow(client: &Client, json: bool, mut last: Option<u64>) {
    let mut is_away = false;
    loop {
        let ended = client
            .follow_events(last, |followed| match followed {
                Followed::Connected => {
                    if std::mem::take(&mut is_away) {
                        output::note("note: the daemon is back");
                    }
                    ControlFlow::Continue(())
                }
                Followed::Event(event) => {
                    last = Some(event.id);
                    if show(&event, json) {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                }
                Followed::Resync => {
                    output::note("note: some events in between were missed");
                    ControlFlow::Continue(())
                }
            })
            .await;
        let Err(error) = ended else {
            return;
        };
        if !std::mem::replace(&mut is_away, true) {
            output::client_error(&error);
            output::note("note: waiting for the daemon to come back");
        }
        sleep(RECONNECT_EVERY).await;
    }
}

fn show(event: &Event, json: bool) -> bool {
    output::data(&if json {
        render::json::line(event)
    } else {
        render::event::line(event)
    })
}
