//! All interfaces: what is wished on each, and the sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use ipnet::Ipv6Net;
use nix::errno::Errno;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::{
    sender::Way,
    tap::Tap,
    voice::{Say, Voice},
};

/// After so long an interface is tried again that could not be listened on.
const RETRY: Duration = Duration::from_secs(5);

/// The whole wish: the interfaces to listen on, and the prefixes that hosts there are to avoid.
pub type Wish = BTreeMap<String, BTreeSet<Ipv6Net>>;

/// Tells hosts which prefixes to avoid. Needs CAP_NET_RAW.
#[derive(Debug, Default)]
pub struct Advertiser {
    lans: BTreeMap<String, Lan>,
}

#[derive(Debug)]
struct Lan {
    tap: Result<Tap, Instant>,
    voice: Voice,
    /// That it does not work was told.
    is_told: bool,
}

impl Advertiser {
    /// An advertiser that says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wishes this from now on, and says at once what is new. On interfaces that are not named any more
    /// the daemon has the word alone. Never waits; must be called inside a tokio runtime.
    pub fn wish(&mut self, wish: &Wish) {
        let now = Instant::now();
        for (interface, lan) in &mut self.lans {
            if !wish.contains_key(interface) {
                lan.voice.avoid(&BTreeSet::new(), now);
                lan.speak(interface, now);
            }
        }
        self.lans
            .retain(|interface, _| wish.contains_key(interface));
        for (interface, avoided) in wish {
            let lan = self.lans.entry(interface.clone()).or_insert_with(|| Lan {
                tap: Err(now),
                voice: Voice::new(now),
                is_told: false,
            });
            lan.voice.avoid(avoided, now);
            lan.open_if_due(interface, now);
            lan.speak(interface, now);
        }
    }

    /// Waits until something was heard or said; for ever where nothing is wished. To be called again
    /// and again. Nothing is lost when the wait is given up.
    pub async fn work(&mut self) {
        let deadline = self.lans.values().filter_map(Lan::deadline).min();
        let heard = poll_fn(|cx| self.poll_heard(cx));
        match deadline {
            Some(at) => {
                let _ = timeout_at(at, heard).await;
            }
            None => heard.await,
        }
        let now = Instant::now();
        for (interface, lan) in &mut self.lans {
            lan.open_if_due(interface, now);
            lan.speak(interface, now);
        }
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let mut any = Poll::Pending;
        for (interface, lan) in &mut self.lans {
            let Ok(tap) = &lan.tap else {
                continue;
            };
            match tap.poll_heard(cx) {
                Poll::Pending => {}
                Poll::Ready(Some(adverts)) => {
                    any = Poll::Ready(());
                    for advert in adverts {
                        lan.voice.hear(advert, now);
                    }
                }
                Poll::Ready(None) => {
                    debug!(interface, "cannot hear advertisements any more");
                    any = Poll::Ready(());
                    lan.tap = Err(now + RETRY);
                }
            }
        }
        any
    }
}

impl Lan {
    fn deadline(&self) -> Option<Instant> {
        match &self.tap {
            Ok(_) => self.voice.deadline(),
            Err(retry_at) => Some(*retry_at),
        }
    }

    fn open_if_due(&mut self, interface: &str, now: Instant) {
        if !self.tap.as_ref().is_err_and(|at| *at <= now) {
            return;
        }
        self.tap = Tap::open(interface).map_err(|error| {
            self.trouble(interface, &error);
            now + RETRY
        });
    }

    fn speak(&mut self, interface: &str, now: Instant) {
        let Ok(tap) = &self.tap else {
            return;
        };
        let way = Way {
            interface,
            index: tap.index,
        };
        while let Some(say) = self.voice.next(now) {
            let sent = match &say {
                Say::Advert { like, message } => way.advertise(like.source, message),
                Say::Solicit => way.solicit(),
            };
            debug!(
                interface,
                ?say,
                ?sent,
                "speaks for this machine's router advertisements"
            );
            if let Err(error) = sent {
                self.trouble(interface, &error);
            }
        }
    }

    /// Told once; an interface that comes and goes is no trouble.
    fn trouble(&mut self, interface: &str, error: &io::Error) {
        let is_gone = [
            Errno::ENODEV,
            Errno::ENXIO,
            Errno::ENETDOWN,
            Errno::ENETUNREACH,
        ]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32));
        if is_gone || std::mem::replace(&mut self.is_told, true) {
            debug!(interface, %error, "cannot speak to hosts");
        } else {
            warn!(
                interface,
                %error,
                "cannot tell hosts which prefixes are dead; routing is not concerned"
            );
        }
    }
}
