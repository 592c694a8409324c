//! The one owner of all state: takes facts, settles health, selects, and hands out intentions.
//!
//! ```text
//! event ─> facts, probes ─> health ─> service ─┬─> urgent plan (two kinds of step, at once)
//!                                              └─> observe ─> desired ─> diff ─> plan ─> observe …
//! ```
//! An uplink that leaves service while another stays is taken out at once by an urgent plan, whose
//! length does not depend on the number of groups. Everything else is settled by comparing the whole
//! desired state with a fresh look, until a look shows no difference.

mod advertise;
mod balance;
mod budgets;
mod interfaces;
mod line;
mod operate;
mod release;
mod reload;
mod resort;
mod review;
mod serve;
mod settle;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use interfaces::with_first_names;
pub(crate) use view::state_of;

use std::collections::VecDeque;

use ipnet::Ipv6Net;
use uplinkd_model::{Advice, Config, Family, Mark, Observed, Reserve, notice::Notice};

use crate::{
    Time,
    balance::Balancer,
    budget::Accounts,
    event::{Action, Event, HintKind},
    families::PerFamily,
    policies::{Compiled, Policies},
    prefixes::Prefixes,
    prepared::Prepared,
    probe::Schedule,
    select::{Service, Serving},
    wishes::Wishes,
};
use interfaces::Words;
use line::LineState;
use resort::Resort;
use review::Review;
use serve::OwedMove;
use settle::Settle;

/// Decides. One for each network namespace; give it every fact and carry out every action in order.
#[derive(Debug)]
pub struct Controller {
    /// What the file says, with the interfaces' names as they are now.
    config: Config,
    /// The interfaces as the file names them.
    words: Words,
    /// The reserves whose objects are ours: the current one, then those of earlier configurations.
    claims: Vec<Reserve>,
    policies: Policies,
    /// Which delegated IPv6 prefix is whose.
    prefixes: Prefixes,
    /// Each family of each uplink.
    lines: Vec<LineState>,
    schedule: Schedule,
    /// When counters are read next; none where no line is watched.
    count_at: Option<Time>,
    /// TCP connections of some interfaces are watched.
    watches_tcp: bool,
    observed: Option<Observed>,
    service: PerFamily<Service>,
    /// Which tier serves, for each outlet of the configuration in its order.
    serving: Vec<PerFamily<Serving>>,
    /// The outlets, or what is known of them, are others than when their tiers were chosen.
    must_choose: bool,
    /// Shares that follow the lines.
    balancer: Balancer,
    /// Bytes of uplinks with a budget.
    accounts: Accounts,
    /// What people want of uplinks for a while.
    wishes: Wishes,
    /// Marks of lines that the file no longer has, whose connections must be released.
    departed: Vec<(Mark, Family)>,
    /// Delegated prefixes that uplinks have lost, with the marks of these.
    lost_prefixes: Vec<(Mark, Ipv6Net)>,
    /// What hosts were told to avoid last; none before the first word.
    advice: Option<Advice>,
    moves: Vec<OwedMove>,
    resort: PerFamily<Resort>,
    review: Review,
    settle: Settle,
    actions: VecDeque<Action>,
}

impl Controller {
    /// A controller that knows nothing yet; its first action is to look at the kernel.
    ///
    /// `earlier` are reserves of configurations before this one, whose objects have to go.
    pub fn new(config: Config, earlier: Vec<Reserve>, now: Time) -> Self {
        let mut claims = vec![config.reserve.clone()];
        claims.extend(earlier.into_iter().filter(|r| *r != config.reserve));
        let mut controller = Self {
            lines: LineState::all(&config, now),
            policies: Policies::new(&config, 0),
            prefixes: Prefixes::default(),
            must_choose: true,
            accounts: Accounts::default(),
            wishes: Wishes::default(),
            balancer: Balancer::new(&config, Balancer::default()),
            serving: vec![PerFamily::default(); config.outlets.len()],
            words: Words::of(&config),
            config,
            claims,
            schedule: Schedule::default(),
            count_at: None,
            watches_tcp: false,
            observed: None,
            service: PerFamily::default(),
            departed: Vec::new(),
            lost_prefixes: Vec::new(),
            advice: None,
            moves: Vec::new(),
            resort: PerFamily::default(),
            review: Review::default(),
            settle: Settle::default(),
            actions: VecDeque::new(),
        };
        controller.settle.cause = Some("start".to_owned());
        controller.look_now(now, true);
        controller
    }

    /// Takes a fact.
    pub fn handle(&mut self, event: Event, now: Time) {
        match event {
            Event::Tick => {
                self.run_due(now);
                self.balance(now);
                self.write_if_due(now);
                self.expire_wishes(now);
                if self.failback_deadline().is_some_and(|at| at <= now) {
                    self.reselect(PerFamily::default(), now);
                }
            }
            Event::Observed(observed) => self.take_observed(*observed, now),
            Event::ObserveFailed { text } => self.observe_failed(text, now),
            Event::Hint { what } => self.take_hint(what, now),
            Event::LinkChanged {
                index,
                name,
                admin_up,
                carrier,
                gone,
            } => {
                self.take_link(index, &name, (admin_up, carrier, gone), now);
            }
            Event::Reply { probe, rtt } => self.take_replies(&[(probe, rtt)], now),
            Event::Replies(replies) => self.take_replies(&replies, now),
            Event::Refused { probe, why } => self.take_refusal(probe, why, now),
            Event::SendFailed { probe } => self.take_send_failure(probe, now),
            Event::Counted(counters) => self.take_counters(&counters, now),
            Event::CountedTcp(counters) => self.take_tcp(&counters, now),
            Event::Neighbour {
                index,
                address,
                state,
            } => self.take_neighbour(index, address, state, now),
            Event::Outcomes(outcomes) => self.take_outcomes(outcomes, now),
            Event::Config(config) => self.take_config(*config, None, None, now),
            Event::Prepared(prepared) => {
                let Prepared {
                    config,
                    policies,
                    notice,
                } = *prepared;
                self.take_config(config, Some(policies), notice, now);
            }
            Event::LocalTime { minute } => self.take_local_time(minute, now),
            Event::LocalDay(day) => self.take_day(day, now),
            Event::SetUsed { uplink, used, by } => self.set_used(&uplink, used, by, now),
            Event::Failback { name, by } => self.fail_back(&name, by, now),
            Event::ProbeNow { uplink } => self.probe_now(&uplink, now),
            Event::Operate(order, by) => self.take_order(order, by, now),
            Event::Connections(connections) => self.take_connections(&connections, now),
        }
        self.look_if_due(now);
    }

    /// The moment at which [`Event::Tick`] is wanted, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        self.schedule
            .next_deadline()
            .into_iter()
            .chain(self.settle.next_deadline())
            .chain(self.failback_deadline())
            .chain(self.watch_deadline())
            .chain(self.balancer.next_deadline())
            .chain(self.accounts.write_at())
            .chain(self.wishes.next_deadline())
            .min()
    }

    /// Whether [`Event::LocalTime`] and [`Event::LocalDay`] are wanted: some policy holds at some times only,
    /// or some uplink has a budget.
    pub fn wants_local_time(&self) -> bool {
        self.policies.has_schedule || self.config.uplinks.iter().any(|u| u.budget.is_some())
    }

    /// The policies with what they come to, to prepare those of a new file from.
    pub fn compiled(&self) -> Compiled {
        Compiled {
            policies: self.config.policies.clone(),
            result: self.policies.clone(),
        }
    }

    /// The next intention; ask until there is none.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The reserves whose objects are ours, the current one first.
    pub fn claims(&self) -> &[Reserve] {
        &self.claims
    }

    fn notify(&mut self, notice: Notice) {
        self.actions.push_back(Action::Notify(notice));
    }

    fn take_hint(&mut self, what: HintKind, now: Time) {
        match what {
            HintKind::Nft | HintKind::Overrun => self.look_soon(now, true),
            HintKind::Address(index) if self.is_bystander(index) => self.look_at_leisure(now),
            HintKind::Address(_) | HintKind::Route | HintKind::Rule | HintKind::Nexthop => {
                self.look_soon(now, false)
            }
        }
    }

    /// Only a change of which policies hold changes anything.
    fn take_local_time(&mut self, minute: u16, now: Time) {
        if self.policies.tell_time(&self.config, minute) {
            self.settle
                .because(|| "the schedule of a policy began or ended".to_owned());
            self.look_now(now, false);
        }
    }
}
