//! Looks at the router's kernel again and again while it is renumbered.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use uplinkd_kernel::{Kernel, Look};
use uplinkd_lab::{Isp, Lab};
use uplinkd_model::{Family, NexthopKind, Observed, Reserve, Slot, intent::is_on_link};

/// Between two looks. A look takes about as long.
const PAUSE: Duration = Duration::from_micros(500);
/// More connections than any trial makes.
const CONNECTIONS_MAX: usize = 100_000;

/// When what was seen first, for good.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// Nexthops and rules know nothing but the new network.
    pub(super) right: Option<Instant>,
    /// No tracked connection uses the old address.
    pub(super) released: Option<Instant>,
}

/// The thread that looks.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Found>>,
}

impl Watch {
    pub(super) fn start(lab: &Lab, isp: Isp, old: IpAddr, new: IpAddr) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = lab.router().start(move || {
            let mut kernel = Kernel::open()?;
            let look = Look {
                reserve: vec![Reserve::default()],
                uplink_interfaces: vec![isp.interface()],
                ..Look::default()
            };
            let mut found = Found::default();
            while !stopped.load(Ordering::Relaxed) {
                let now = Instant::now();
                let observed = kernel.observe(&look)?;
                note(&mut found.right, now, is_right(&observed, isp, old, new));
                let all = kernel.connections(u32::MAX, CONNECTIONS_MAX)?;
                let is_used = all
                    .list
                    .iter()
                    .any(|c| c.original.source == old || c.reply.destination == old);
                note(&mut found.released, now, !is_used);
                thread::sleep(PAUSE);
            }
            Ok(found)
        })?;
        Ok(Self { stop, thread })
    }

    pub(super) fn stop(self) -> Result<Found> {
        self.stop.store(true, Ordering::Relaxed);
        let found = self.thread.join();
        found.map_err(|_| anyhow!("the watching thread died"))?
    }
}

/// Keeps when something began to hold, and forgets it when it no longer does.
fn note(since: &mut Option<Instant>, now: Instant, holds: bool) {
    if holds {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}

/// The old address has no rule, the new one has, and no nexthop of the line has a gateway that is
/// not of the new network. An uplink that is out of service has no service object, which is right.
fn is_right(observed: &Observed, isp: Isp, old: IpAddr, new: IpAddr) -> bool {
    let reserve = Reserve::default();
    let slot = Slot(isp.number().into());
    let networks: Vec<_> = observed
        .link(&isp.interface())
        .map(|link| link.addresses_of(Family::V4).collect())
        .unwrap_or_default();
    let has_rule = |address: IpAddr| {
        let mut rules = observed.rules.iter();
        rules.any(|r| r.from.is_some_and(|from| from.addr() == address))
    };
    let objects = [
        reserve.nexthop_service(Family::V4, slot),
        reserve.nexthop_path(Family::V4, slot),
    ];
    let leads_right = |kind: &NexthopKind| match kind {
        NexthopKind::Single { gateway, .. } => gateway.is_some_and(|g| is_on_link(g, &networks)),
        NexthopKind::Group(_) | NexthopKind::Other => false,
    };
    let mut there = objects.iter().filter_map(|id| observed.nexthops.get(id));
    !has_rule(old) && has_rule(new) && there.all(|n| leads_right(&n.kind))
}
