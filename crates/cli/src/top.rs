//! `uplinkctl top`: the uplinks on a whole screen, as it happens.
//!
//! `state` is what is known and what keys mean, `trail` the last minutes of a line, `view` puts both on
//! a screen; all three are pure. Here is what they live on: the status each second and whenever
//! something happened, the stream of events, keys, and signals. `terminal` takes the screen and gives
//! it back, however we end.

mod state;
mod terminal;
mod trail;
mod view;

use std::{
    env,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use ratatui::crossterm::event;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use uplinkd_api::{Client, ClientError, Followed, Probed};

use self::{
    state::{Fact, Order, Then, Top},
    terminal::{Screen, Unfit},
};
use crate::{exit::Exit, output, render::words::escape};

/// How often the status is asked for while nothing happens, and how soon at the soonest when it does.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a daemon that is away is left alone.
const RECONNECT_EVERY: Duration = Duration::from_secs(1);
/// Facts that wait to be shown. When full, whoever brings more waits; the daemon does not, and has the
/// stream of events say `resync`.
const WAITING_MAX: usize = 64;
/// Events that wait, as many as a daemon remembers. When full, the stream is begun again after the last
/// that there was room for.
const EVENTS_MAX: usize = 1000;
/// What the event log says of orders that were given by a key.
const WHY: &str = "by a key of uplinkctl top";

/// Shows it until somebody has seen enough.
pub(crate) async fn run(client: Client) -> Exit {
    let screen = match Screen::take() {
        Ok(screen) => screen,
        Err(Unfit(why)) => {
            output::problem(
                &format!("`top` needs a terminal: {why}"),
                Some("`uplinkctl status --watch` goes anywhere"),
            );
            return Exit::Usage;
        }
    };
    let shown = show(Arc::new(client), screen).await;
    match shown {
        Ok(()) => Exit::Yes,
        Err(error) => {
            // Often there is nobody left to hear it.
            output::problem(&format!("cannot go on: {error}"), None);
            Exit::No
        }
    }
}

async fn show(client: Arc<Client>, mut screen: Screen) -> std::io::Result<()> {
    let started = Instant::now();
    let has_colour = env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let (tell, mut facts) = mpsc::channel(WAITING_MAX);
    let news = Arc::new(Notify::new());
    tokio::spawn(ask(client.clone(), tell.clone(), news.clone()));
    tokio::spawn(follow(client.clone(), tell.clone(), news.clone()));
    listen(tell.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut top = Top::default();
    loop {
        screen.draw(|frame| view::draw(frame, &top, has_colour))?;
        let fact = tokio::select! {
            fact = timeout(ASK_EVERY, facts.recv()) => fact,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        };
        // All that waits is shown at once, so that a burst of events costs one picture.
        let mut next = match fact {
            Ok(Some(fact)) => Some(fact),
            Ok(None) => return Ok(()),
            Err(_) => None,
        };
        while let Some(fact) = next {
            match top.take(fact, started.elapsed()) {
                Then::GoOn => {}
                Then::End => return Ok(()),
                Then::Do(order) => {
                    tokio::spawn(obey(client.clone(), order, tell.clone(), news.clone()));
                }
            }
            next = facts.try_recv().ok();
        }
        top.pass(started.elapsed());
    }
}

/// Asks for the status, each second and after each event.
async fn ask(client: Arc<Client>, tell: mpsc::Sender<Fact>, news: Arc<Notify>) {
    loop {
        let fact = match client.status().await {
            Ok(status) => Fact::Status(Box::new(status)),
            Err(error) => Fact::Away(output::chain(&error)),
        };
        if tell.send(fact).await.is_err() {
            return;
        }
        sleep(ASK_AGAIN).await;
        let _ = timeout(ASK_EVERY - ASK_AGAIN, news.notified()).await;
    }
}

/// Follows the events, from the oldest that is remembered.
async fn follow(client: Arc<Client>, tell: mpsc::Sender<Fact>, news: Arc<Notify>) {
    let mut last = 0;
    let (events, mut arrived) = mpsc::channel(EVENTS_MAX);
    tokio::spawn(async move {
        loop {
            let mut began = false;
            // Ids begin at the second of the daemon's start, so those of a later run are higher.
            let _ = client
                .follow_events(Some(last), |followed| match followed {
                    Followed::Connected => ControlFlow::Continue(()),
                    Followed::Event(event) => {
                        let id = event.id;
                        match events.try_send(event) {
                            Ok(()) => {
                                (last, began) = (id, true);
                                ControlFlow::Continue(())
                            }
                            Err(_) => ControlFlow::Break(()),
                        }
                    }
                    // Connected again, what was missed comes first, as far as it is remembered.
                    Followed::Resync if began => ControlFlow::Break(()),
                    Followed::Resync => ControlFlow::Continue(()),
                })
                .await;
            if events.is_closed() {
                return;
            }
            sleep(RECONNECT_EVERY).await;
        }
    });
    while let Some(event) = arrived.recv().await {
        news.notify_one();
        if tell.send(Fact::Event(Box::new(event))).await.is_err() {
            return;
        }
    }
}

/// Keys come from a thread, since reading them waits. It ends with the process.
fn listen(tell: mpsc::Sender<Fact>) {
    std::thread::spawn(move || {
        loop {
            let fact = match event::read() {
                Ok(event) => Fact::Terminal(event),
                Err(_) => Fact::TerminalGone,
            };
            let is_last = matches!(fact, Fact::TerminalGone);
            if tell.blocking_send(fact).is_err() || is_last {
                return;
            }
        }
    });
}

/// Does what was asked for, and tells what came of it.
async fn obey(client: Arc<Client>, order: Order, tell: mpsc::Sender<Fact>, news: Arc<Notify>) {
    let done = match &order {
        Order::Drain(uplink) => client.drain(uplink, None, Some(WHY)).await.map(|d| d.text),
        Order::Undrain(uplink) => client.undrain(uplink, Some(WHY)).await.map(|d| d.text),
        Order::Probe(uplink) => client.probe(uplink).await.map(|p| probed(&p)),
    };
    news.notify_one();
    let text = done.unwrap_or_else(|error| refused(&error));
    let _ = tell.send(Fact::Said(escape(&text))).await;
}

fn refused(error: &ClientError) -> String {
    let hint = error.hint().map(|h| format!(" ({h})"));
    format!("no: {}{}", output::chain(error), hint.unwrap_or_default())
}

fn probed(probed: &Probed) -> String {
    let families = probed.families.iter().map(|family| {
        let answered = family.targets.iter().filter(|t| t.rtt_ms.is_some()).count();
        let word = if family.up { "works" } else { "does not work" };
        let all = family.targets.len();
        format!("{} {word}: {answered} of {all} answered", family.family)
    });
    let families: Vec<_> = families.collect();
    format!("{}: {}", probed.uplink, families.join(", "))
}
