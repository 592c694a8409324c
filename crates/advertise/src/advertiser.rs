//! All interfaces: what is wished on each, and the sockets.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use nix::errno::Errno;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};
use uplinkd_model::{Advice, LanAdvice};

use crate::{
    own::Own,
    said::Said,
    sender::Way,
    tap::{Heard, Tap},
    voice::{Say, Voice},
};

/// After so long an interface is tried again that could not be listened on.
const RETRY: Duration = Duration::from_secs(5);

/// Tells hosts which prefixes to avoid. Needs CAP_NET_RAW.
#[derive(Debug, Default)]
pub struct Advertiser {
    lans: BTreeMap<String, Lan>,
}

#[derive(Debug)]
struct Lan {
    tap: Result<Tap, Instant>,
    voice: Voice,
    /// What is said where nobody else does.
    own: Option<Own>,
    /// Nobody else does: `own` has spoken.
    is_alone: bool,
    said: Said,
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
    pub fn wish(&mut self, wish: &Advice) {
        let now = Instant::now();
        for (interface, lan) in &mut self.lans {
            if !wish.contains_key(interface) {
                lan.wish(interface, &LanAdvice::default(), now);
            }
        }
        self.lans
            .retain(|interface, _| wish.contains_key(interface));
        for (interface, advice) in wish {
            let lan = self.lans.entry(interface.clone()).or_insert_with(|| Lan {
                tap: Err(now),
                voice: Voice::new(now),
                own: None,
                is_alone: false,
                said: Said::default(),
                is_told: false,
            });
            lan.open_if_due(interface, now);
            lan.wish(interface, advice, now);
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
                Poll::Ready(Some(heard)) => {
                    any = Poll::Ready(());
                    for heard in heard {
                        lan.hear(interface, heard, now);
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
            Ok(_) => {
                let own = self.own.as_ref().map(|own| match self.is_alone {
                    true => own.deadline(),
                    false => self.voice.alone_from(),
                });
                self.voice.deadline().into_iter().chain(own).min()
            }
            Err(retry_at) => Some(*retry_at),
        }
    }

    /// Wishes this from now on, and says what is new.
    fn wish(&mut self, interface: &str, advice: &LanAdvice, now: Instant) {
        self.voice.avoid(&advice.avoid, now);
        match (&mut self.own, &advice.own) {
            (Some(own), Some(wish)) => own.change(wish, &advice.avoid, now),
            (None, Some(wish)) => {
                self.own = Some(Own::new(wish.clone(), advice.avoid.clone(), now));
            }
            (own, None) => {
                let last = own.take().filter(|_| self.is_alone);
                if let Some(message) = last.and_then(|own| own.last_word(now)) {
                    self.say_own(interface, &message);
                }
                self.is_alone = false;
            }
        }
        self.speak(interface, now);
    }

    fn hear(&mut self, interface: &str, heard: Heard, now: Instant) {
        match heard {
            Heard::Question => {
                if let Some(own) = self.own.as_mut().filter(|_| self.is_alone) {
                    own.asked(now);
                }
            }
            Heard::Advert(advert) if self.said.is_ours(advert.message()) => {}
            Heard::Advert(advert) => {
                if std::mem::replace(&mut self.is_alone, false) {
                    info!(
                        interface,
                        "another daemon of this machine advertises IPv6 networks now: it has the word"
                    );
                }
                self.voice.hear(advert, now);
            }
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
        let Some(way) = self.way(interface) else {
            return;
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
            match (sent, say) {
                (Ok(()), Say::Advert { message, .. }) => self.said.push(message),
                (Ok(()), Say::Solicit) => {}
                (Err(error), _) => self.trouble(interface, &error),
            }
        }
        if self.own.is_none() || !self.is_alone && self.voice.alone_from() > now {
            return;
        }
        if !std::mem::replace(&mut self.is_alone, true) {
            info!(
                interface,
                "nothing else on this machine advertises IPv6 networks here: uplinkd does"
            );
        }
        if let Some(message) = self.own.as_mut().and_then(|own| own.next(now)) {
            self.say_own(interface, &message);
        }
    }

    fn way<'a>(&self, interface: &'a str) -> Option<Way<'a>> {
        let index = self.tap.as_ref().ok()?.index;
        Some(Way { interface, index })
    }

    fn say_own(&mut self, interface: &str, message: &[u8]) {
        let Some(way) = self.way(interface) else {
            return;
        };
        let sent = way
            .link_local()
            .and_then(|source| way.advertise(source, message));
        debug!(interface, ?sent, "advertises by itself");
        match sent {
            Ok(()) => self.said.push(message.to_owned()),
            Err(error) => self.trouble(interface, &error),
        }
    }

    /// Told once; an interface that comes and goes is no trouble, nor is an address that the kernel has
    /// not yet found to be its own.
    fn trouble(&mut self, interface: &str, error: &io::Error) {
        let is_gone = [
            Errno::ENODEV,
            Errno::ENXIO,
            Errno::ENETDOWN,
            Errno::ENETUNREACH,
            Errno::EADDRNOTAVAIL,
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
