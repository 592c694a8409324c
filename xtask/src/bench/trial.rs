//! One trial: a fresh laboratory, one candidate, traffic, one fault, and what became of it.

use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use uplinkd_lab::{
    Fault, Isp, Lab, LabSpec, RouterDaemon,
    traffic::{self, Attempts, Flow, FlowRecord, FlowSpec, Load, Outage, Servers, Transport},
};
use uplinkd_model::Family;

use super::{candidate::Candidate, program::Programs, route_watch::RouteWatch};

/// New connections per second of each kind, UDP and TCP.
pub(super) const RATE: u32 = 200;
/// Traffic before the fault, at least.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long a candidate may take until it shares traffic out.
const READY_MAX: Duration = Duration::from_secs(20);
/// Connections by which we see whether it does; and the least that each line must carry of them.
const SHARE_SAMPLE: usize = 100;
const SHARE_LEAST: usize = 20;
/// A flow goes over the line that will fail with a chance of three in five.
const FLOW_TRIES_MAX: usize = 30;
/// Success must last so long until the end of the record to count.
const LASTING: Duration = Duration::from_millis(500);
/// How long the return to the mended line is waited for.
const RETURN_MAX: Duration = Duration::from_secs(30);

/// What to try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub(super) candidate: Candidate,
    /// Of all traffic.
    pub(super) family: Family,
    pub(super) fault: Fault,
    /// From 0.
    pub(super) repetition: usize,
    /// How many repetitions there are.
    pub(super) repetitions: usize,
}

/// What became of the long TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TcpEnd {
    /// It went on; the longest wait for an answer is the gap.
    Kept,
    /// It broke so many milliseconds after the fault, so its client could connect again.
    Reset(f64),
    /// When the window ended it neither worked nor had its client been told.
    Stuck,
}

/// What became of a trial. Milliseconds; `None` means never within the window.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) candidate: Candidate,
    pub(super) family: Family,
    pub(super) fault: String,
    pub(super) repetition: usize,
    /// How long the fault was watched.
    pub(super) window_ms: f64,
    /// New connections begun in the window.
    pub(super) attempts: usize,
    /// Those that failed.
    pub(super) lost: usize,
    /// Those of the time before the fault that failed: noise of the machine.
    pub(super) lost_before: usize,
    /// The failing line's part of the connections before the fault, in percent.
    pub(super) share_before: f64,
    /// From the first failed connection to lasting success.
    pub(super) outage_ms: Option<f64>,
    /// From the fault until the kernel sent no new connection over the line.
    pub(super) kernel_ms: Option<f64>,
    /// How often the line came into or went out of use in the window.
    pub(super) switches: usize,
    /// From the first unanswered question of the long UDP flow to lasting answers.
    pub(super) udp_gap_ms: Option<f64>,
    pub(super) tcp: TcpEnd,
    /// The same gap for the long TCP flow, with a new connection for a broken one.
    pub(super) tcp_gap_ms: Option<f64>,
    /// From mending the line until it was used again; outer `None` when it was not waited for.
    pub(super) return_ms: Option<Option<f64>>,
}

impl Trial {
    /// Runs it.
    ///
    /// # Errors
    /// When the machine fails us, or the candidate never shares traffic out.
    pub(super) fn run(&self, programs: &Programs) -> Result<Outcome> {
        let what = || {
            let Self {
                candidate,
                family,
                fault,
                ..
            } = self;
            let number = self.repetition + 1;
            format!("{candidate}, {family}, {fault}, repetition {number}")
        };
        self.try_run(programs).with_context(what)
    }

    fn try_run(&self, programs: &Programs) -> Result<Outcome> {
        let lab = Lab::build(LabSpec::default())?;
        let isp = Isp::new(1).context("there is no first provider")?;
        // A router behind a real cable does not see that a client's socket has changed its own hash,
        // as it does with each retransmission; over a veth the router would choose another line by
        // it. Kernels before 5.17 lack the switch, and do it to nobody's unfair advantage.
        let _ = lab.client().set_sysctls(&[("net.core.txrehash", "0")]);
        let destinations = lab.servers(self.family);
        let _servers = Servers::start(lab.internet(), traffic::PORT)?;
        let started = Instant::now();
        let router = self.candidate.start(&lab, programs)?;
        wait_until_shared(&lab, &router, self.family)?;
        let routes = RouteWatch::start(&lab, isp, self.family)?;
        let traffic = Traffic::start(&lab, isp, &destinations)?;
        thread::sleep(self.wait_for_phase(started, WARM_UP));

        let window = self.candidate.window(self.fault);
        let before = Instant::now();
        let broken = self.fault.apply(&lab, isp)?;
        // Pulling a cable takes effect within one system call and may be answered at once. The other
        // faults are made by nft, which works most of its time before they take effect.
        let is_at_once = matches!(self.fault, Fault::Carrier | Fault::Flap(_));
        let cause = if is_at_once { before } else { broken.since() };
        let end = before + window;
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let record = traffic.stop()?;
        thread::sleep(self.wait_for_phase(started, Duration::ZERO));
        let healed = broken.heal()?;
        let return_is_awaited = self.candidate.returns_soon() || self.repetition == 0;
        if return_is_awaited {
            wait_for_return(&lab, &destinations, &routes, healed);
        }
        let changes = routes.stop()?;

        let connections = within(&record.connections, before, end);
        let earlier = within(&record.connections, before - WARM_UP, before);
        Ok(Outcome {
            candidate: self.candidate,
            family: self.family,
            fault: self.fault.to_string(),
            repetition: self.repetition,
            window_ms: ms(window),
            attempts: connections.0.len(),
            lost: connections.failed(),
            lost_before: earlier.failed(),
            share_before: earlier.shares().percent(isp),
            outage_ms: ended(connections.outage(), end),
            kernel_ms: changes.out_of_use_after(cause).map(ms),
            switches: changes.count(before, end),
            udp_gap_ms: gap(&record.udp, before),
            tcp: tcp_end(&record.tcp, before, cause),
            tcp_gap_ms: gap(&record.tcp, before),
            return_ms: return_is_awaited.then(|| changes.in_use_after(healed).map(ms)),
        })
    }

    /// How long to wait for the fault, and for its end: at least so long, and then until the
    /// candidate's checks, which began with it, have come to the phase of this repetition. The phases
    /// of all repetitions are spread evenly over the time between two checks.
    fn wait_for_phase(&self, started: Instant, at_least: Duration) -> Duration {
        let part = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (number, count) = (part(self.repetition), part(self.repetitions).max(1));
        let period = self.candidate.period();
        let phase = period * (2 * number + 1) / (2 * count);
        let earliest = started.elapsed() + at_least;
        let into_period = earliest.as_nanos() % period.as_nanos();
        let into_period = Duration::from_nanos(u64::try_from(into_period).unwrap_or(0));
        at_least
            + if phase >= into_period {
                phase - into_period
            } else {
                period + phase - into_period
            }
    }
}

/// All traffic of a trial.
struct Traffic {
    udp: traffic::Running,
    tcp: traffic::Running,
    udp_flow: Flow,
    tcp_flow: Flow,
}

struct Record {
    connections: Attempts,
    udp: FlowRecord,
    tcp: FlowRecord,
}

impl Traffic {
    fn start(lab: &Lab, isp: Isp, destinations: &[IpAddr]) -> Result<Self> {
        let flow = |transport| pinned_flow(lab, isp, transport, destinations);
        let load = |transport| {
            // Ended by `stop`; this is the bound for a trial that hangs.
            let at_most = Duration::from_secs(120);
            Load::new(transport, RATE, at_most, destinations.to_vec()).start(lab.client())
        };
        Ok(Self {
            udp_flow: flow(Transport::Udp)?,
            tcp_flow: flow(Transport::Tcp)?,
            udp: load(Transport::Udp)?,
            tcp: load(Transport::Tcp)?,
        })
    }

    fn stop(self) -> Result<Record> {
        let mut connections = self.udp.stop()?;
        connections.0.append(&mut self.tcp.stop()?.0);
        connections.0.sort_by_key(|a| a.begun);
        Ok(Record {
            connections,
            udp: self.udp_flow.stop()?,
            tcp: self.tcp_flow.stop()?,
        })
    }
}

/// A flow with a question each 10 ms over the line that will fail.
fn pinned_flow(lab: &Lab, isp: Isp, transport: Transport, to: &[IpAddr]) -> Result<Flow> {
    for destination in to.iter().cycle().take(FLOW_TRIES_MAX) {
        let begun = Instant::now();
        let flow = Flow::start(lab.client(), FlowSpec::new(transport, *destination))?;
        let answered = flow.wait_for_answer(begun, Duration::from_secs(2));
        if answered.is_some() && flow.record().last_isp() == Some(isp) {
            return Ok(flow);
        }
    }
    bail!("none of {FLOW_TRIES_MAX} flows went over the line to {isp}");
}

/// Waits until a candidate shares traffic of a family out. Servers have to run in the internet.
///
/// # Errors
/// When it never does, with what the candidate said.
pub(super) fn wait_until_shared(lab: &Lab, router: &RouterDaemon, family: Family) -> Result<()> {
    let destinations = lab.servers(family);
    router.wait_until("traffic goes over both lines", READY_MAX, || {
        thread::sleep(Duration::from_millis(100));
        is_shared(lab, &destinations)
    })
}

fn is_shared(lab: &Lab, destinations: &[IpAddr]) -> bool {
    traffic::shares(lab.client(), Transport::Udp, destinations, SHARE_SAMPLE).is_ok_and(|shares| {
        shares.failed == 0 && lab.isps().all(|isp| shares.of(isp) >= SHARE_LEAST)
    })
}

/// Waits until the mended line is in use again, and carries traffic.
fn wait_for_return(lab: &Lab, destinations: &[IpAddr], routes: &RouteWatch, healed: Instant) {
    while healed.elapsed() < RETURN_MAX {
        thread::sleep(Duration::from_millis(20));
        if routes.is_used() && is_shared(lab, destinations) {
            return;
        }
    }
}

fn within(all: &Attempts, from: Instant, to: Instant) -> Attempts {
    let inside = all.0.iter().filter(|a| a.begun >= from && a.begun < to);
    Attempts(inside.copied().collect())
}

fn gap(flow: &FlowRecord, from: Instant) -> Option<f64> {
    let last = flow.samples.last().map_or(from, |s| s.sent);
    ended(flow.outage_since(from), last)
}

/// How long an interruption was; `None` when it was not over by the end of the record. A success
/// shortly before that proves nothing: some connections take the good line.
fn ended(outage: Option<Outage>, last: Instant) -> Option<f64> {
    let Some(outage) = outage else {
        return Some(0.0);
    };
    let is_over = outage.ended? + LASTING <= last;
    outage.duration().filter(|_| is_over).map(ms)
}

fn tcp_end(flow: &FlowRecord, before: Instant, cause: Instant) -> TcpEnd {
    match flow.broken_since(before) {
        Some(at) => TcpEnd::Reset(ms(at.saturating_duration_since(cause))),
        None if gap(flow, before).is_some() => TcpEnd::Kept,
        None => TcpEnd::Stuck,
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
