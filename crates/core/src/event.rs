//! Facts in, intentions out: the closed lists of both.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use uplinkd_model::{
    Advice, By, Config, Connection, Counters, Family, NeighbourState, Observed, Order, Outcome,
    Plan, Question, Subject, Target, TcpCounters, UplinkName,
    budget::{Day, Ledger},
    notice::Notice,
};

use crate::{prepared::Prepared, wishes::Wishes};

/// The number of one probe; never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u64);

/// A fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// The time has come that [`crate::Controller::next_deadline`] named.
    Tick,
    /// The answer to [`Action::Observe`].
    Observed(Box<Observed>),
    /// The kernel could not be read.
    ObserveFailed {
        /// Why, for the log.
        text: String,
    },
    /// Something of ours, or that concerns us, may have changed.
    Hint {
        /// What kind of thing, for the log.
        what: HintKind,
    },
    /// An interface changed. Carries the new facts, so that the loss of a carrier needs no second look.
    LinkChanged {
        /// The interface's index.
        index: u32,
        /// Its name now.
        name: String,
        /// Switched on.
        admin_up: bool,
        /// The far end is there.
        carrier: bool,
        /// The interface is gone altogether.
        gone: bool,
    },
    /// A probe was answered.
    Reply {
        /// Which one.
        probe: ProbeId,
        /// How long it took, by the kernel's stamps.
        rtt: Duration,
    },
    /// Several probes were answered, as in [`Event::Reply`], and are told at one time. Lines that are well
    /// are judged once for all of them.
    Replies(Vec<(ProbeId, Duration)>),
    /// A probe was answered, and not well; counts as lost.
    Refused {
        /// Which one.
        probe: ProbeId,
        /// What was wrong, in words.
        why: String,
    },
    /// A probe could not be sent; counts as lost.
    SendFailed {
        /// Which one.
        probe: ProbeId,
    },
    /// The answer to [`Action::Count`], by the interfaces' indexes; without those that are gone.
    Counted(BTreeMap<u32, Counters>),
    /// The answer to [`Action::CountTcp`], by the interfaces' indexes and families; without those of
    /// which nothing is known.
    CountedTcp(BTreeMap<(u32, Family), TcpCounters>),
    /// The kernel found something out about a neighbour, of whatever interface.
    Neighbour {
        /// The interface's index.
        index: u32,
        /// The neighbour.
        address: IpAddr,
        /// What was found out.
        state: NeighbourState,
    },
    /// What became of the steps of the last [`Action::Apply`], in order.
    Outcomes(Vec<Outcome>),
    /// A new configuration is in force.
    Config(Box<Config>),
    /// The same, with the longest part of the work done already.
    Prepared(Box<Prepared>),
    /// The local time, in minutes since Monday 00:00: at start, before the first look is answered, at
    /// every whole minute and after the clock was set, where [`crate::Controller::wants_local_time`].
    LocalTime {
        /// Minutes since Monday 00:00.
        minute: u16,
    },
    /// Today, by the local calendar: at start, before the first look is answered, and when it is another
    /// day, where [`crate::Controller::wants_local_time`].
    LocalDay(Day),
    /// Somebody says what an uplink has used of its budget in this period.
    SetUsed {
        /// Which uplink.
        uplink: UplinkName,
        /// Bytes.
        used: u64,
        /// Who.
        by: By,
    },
    /// Somebody wants a group, or an outlet, to return to its best tier now.
    Failback {
        /// The name of the group or the outlet.
        name: String,
        /// Who.
        by: By,
    },
    /// Somebody wants all targets of an uplink asked now.
    ProbeNow {
        /// Which uplink.
        uplink: UplinkName,
    },
    /// Somebody wants something of uplinks for a while.
    Operate(Order, By),
    /// The answer to [`Action::ListConnections`].
    Connections(Vec<Connection>),
}

/// What a hint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintKind {
    /// An address came or went, at the interface of this index.
    Address(u32),
    /// A route of ours, or a default route.
    Route,
    /// A rule.
    Rule,
    /// A nexthop object.
    Nexthop,
    /// Our nft table.
    Nft,
    /// Messages were dropped: anything may have changed.
    Overrun,
}

/// An intention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a probe; answer with [`Event::Reply`], [`Event::Refused`] or [`Event::SendFailed`], or not at
    /// all.
    Probe(Probe),
    /// Read the counters of the interfaces of these indexes; answer with [`Event::Counted`], or not at
    /// all.
    Count(Vec<u32>),
    /// Watch the TCP connections of the interfaces of these indexes, and of no others, from now on;
    /// answer with [`Event::CountedTcp`], or not at all.
    CountTcp(Vec<u32>),
    /// Read the kernel; answer with [`Event::Observed`] or [`Event::ObserveFailed`].
    Observe {
        /// Also read our nft table back, which costs a process.
        nft: bool,
    },
    /// Execute a plan; answer with [`Event::Outcomes`]. No other plan is handed out before.
    Apply(Plan),
    /// List the connections that bear a mark of ours; answer with [`Event::Connections`].
    ListConnections,
    /// Write the bytes of budgets down, so that they survive a loss of power.
    WriteLedger(Ledger),
    /// Write down what people want of uplinks, so that it survives a restart.
    KeepWishes(Wishes),
    /// Tell people.
    Notify(Notice),
    /// From now on hosts on these interfaces, and on no others, are told this. The whole wish, also
    /// where it is empty.
    Advertise(Advice),
}

/// One question to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its number.
    pub id: ProbeId,
    /// The uplink that it tests.
    pub uplink: UplinkName,
    /// The interface to bind to.
    pub device: String,
    /// The mark to set, which leads to the uplink's path table of the target's family.
    pub mark: u32,
    /// Who is asked what.
    pub asking: Asking,
}

/// What a [`Probe`] asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asking {
    /// An ICMP echo of this address.
    Echo(IpAddr),
    /// Anything else.
    Question(Question),
}

impl Probe {
    /// The address whose echo is wanted, where it is one.
    pub fn echo(&self) -> Option<IpAddr> {
        match self.asking {
            Asking::Echo(address) => Some(address),
            Asking::Question(_) => None,
        }
    }

    /// The family of the line that is tested.
    pub fn family(&self) -> Family {
        match &self.asking {
            Asking::Echo(address) => Family::of(*address),
            Asking::Question(question) => question.family,
        }
    }

    /// Who is asked, as the file names it.
    pub fn label(&self, config: &Config) -> String {
        let target = match &self.asking {
            Asking::Echo(address) => {
                let access = config.uplink(&self.uplink);
                let access = access.and_then(|u| u.access(self.family()));
                let asked = Target::Icmp(*address);
                let is_named = access.is_none_or(|a| a.probe.targets.contains(&asked));
                if is_named { asked } else { Target::Gateway }
            }
            Asking::Question(question) => match &question.subject {
                Subject::Neighbour(_) => Target::Neighbour,
                Subject::Service(service) => Target::Service(Arc::clone(service)),
            },
        };
        target.to_string()
    }
}
