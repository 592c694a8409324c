//! What people tell us to do with uplinks for a while: draining one, preferring one.
//!
//! One that is drained stays in service, so that its connections live; it leaves the groups. One that is
//! preferred gets a route of its own before all tiers. Neither releases a connection.

use std::collections::BTreeSet;

use uplinkd_model::{By, Order, Step, UplinkName, notice::Notice, policy::FailbackFlows};

use super::{
    Controller,
    serve::{News, OwedMove},
};
use crate::{
    Action, Time,
    families::{FAMILIES, PerFamily},
    select::Service,
    wishes::{Wish, Wishes},
};

impl Controller {
    /// Goes on with what people wanted of an earlier run. To be told before anything else.
    pub fn restore_wishes(&mut self, wishes: Wishes) {
        self.wishes = wishes;
    }

    /// What people want of uplinks at present.
    pub fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    pub(super) fn take_order(&mut self, order: Order, by: By, now: Time) {
        let is_known = |uplink: &UplinkName| self.config.uplink(uplink).is_some();
        let wish = |uplink: &UplinkName, until| Wish {
            uplink: uplink.clone(),
            since: now,
            until,
            by: by.clone(),
        };
        let (notice, news) = match order {
            Order::Drain { uplink, .. } | Order::Prefer { uplink, .. } if !is_known(&uplink) => {
                return;
            }
            Order::Drain { uplink, span } => {
                self.wishes.drain(wish(&uplink, span.map(|s| now + s)));
                let news = format!("uplink {uplink} is drained");
                let seconds = span.map(|s| s.as_secs());
                let notice = Notice::Drained {
                    uplink,
                    seconds,
                    by,
                };
                (notice, news)
            }
            Order::Prefer { uplink, span } => {
                self.wishes.preferred = Some(wish(&uplink, Some(now + span)));
                let news = format!("uplink {uplink} is preferred");
                let seconds = span.as_secs();
                let notice = Notice::Preferred {
                    uplink,
                    seconds,
                    by,
                };
                (notice, news)
            }
            Order::Undrain { uplink } => {
                if !self.wishes.undrain(&uplink) {
                    return;
                }
                (
                    undrained(uplink.clone(), Some(by)),
                    no_longer_drained(&uplink),
                )
            }
            Order::Unprefer => {
                let Some(Wish { uplink, .. }) = self.wishes.preferred.take() else {
                    return;
                };
                let news = no_longer_preferred(&uplink);
                (unpreferred(uplink, Some(by)), news)
            }
        };
        self.notify(notice);
        self.heed_wishes(news, now);
    }

    /// Ends what has had its time.
    pub(super) fn expire_wishes(&mut self, now: Time) {
        if self.wishes.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        let (drained, preferred) = self.wishes.expire(now);
        let mut news = String::new();
        for uplink in drained {
            news = no_longer_drained(&uplink);
            self.notify(undrained(uplink, None));
        }
        if let Some(uplink) = preferred {
            news = no_longer_preferred(&uplink);
            self.notify(unpreferred(uplink, None));
        }
        self.heed_wishes(news, now);
    }

    fn heed_wishes(&mut self, news: String, now: Time) {
        let wishes = self.wishes.clone();
        self.actions.push_back(Action::KeepWishes(wishes));
        let news: News = PerFamily::from_fn(|_| Some(news.clone()));
        self.reselect(news, now);
    }

    /// Sources that keep to an uplink would go on using one that is drained, or any but the one that is
    /// preferred: what is remembered of them goes once the routes are others. When a preference ends it
    /// goes as at a failback.
    pub(super) fn owe_forgetting(&mut self, before: &PerFamily<Service>) {
        for family in FAMILIES {
            let (was, is) = (before.of(family), self.service.of(family));
            let mut owed = Vec::new();
            for outlet in &self.config.outlets {
                let Some(outflow) = outlet.outflow().filter(|o| o.sticky.is_some()) else {
                    continue;
                };
                let must_go = |name: &UplinkName| {
                    // Not only when its draining begins: it may have served meanwhile for want of others.
                    let drained = is.drained.contains(name) && was != is;
                    let others_preferred = is.preferred != was.preferred
                        && is
                            .preferred
                            .as_ref()
                            .is_some_and(|p| outflow.has(p) && p != name);
                    let was_preferred = is.preferred.is_none()
                        && was.preferred.as_ref() == Some(name)
                        && outflow.failback.flows != FailbackFlows::Keep;
                    drained || others_preferred || was_preferred
                };
                let members = outflow.members().map(|m| &m.uplink);
                let names = members.filter(|name| must_go(name));
                let slots = names.filter_map(|name| Some(self.config.uplink(name)?.slot.0));
                let slots: BTreeSet<_> = slots.collect();
                if !slots.is_empty() {
                    owed.push(OwedMove {
                        outlet: outlet.code,
                        family,
                        step: Step::ForgetSticky {
                            table: self.config.reserve.nft_table.clone(),
                            outlet: outlet.code,
                            slots: slots.into_iter().collect(),
                        },
                        reason: format!("{}: new connections go another way now", outlet.name),
                    });
                }
            }
            for owed in owed {
                if !self.moves.iter().any(|m| m.step == owed.step) {
                    self.moves.push(owed);
                }
            }
        }
    }
}

fn undrained(uplink: UplinkName, by: Option<By>) -> Notice {
    Notice::Undrained { uplink, by }
}

fn unpreferred(uplink: UplinkName, by: Option<By>) -> Notice {
    Notice::Unpreferred { uplink, by }
}

fn no_longer_drained(uplink: &UplinkName) -> String {
    format!("uplink {uplink} is no longer drained")
}

fn no_longer_preferred(uplink: &UplinkName) -> String {
    format!("uplink {uplink} is no longer preferred")
}
