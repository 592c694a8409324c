//! The switches that people throw, at the prompt or on the page.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tokio::sync::mpsc;
use uplinkd_model::Family;

use super::window::{Order, Outside};
use crate::{
    addresses::Isp,
    faults::{Broken, Fault},
    topology::Lab,
    traffic::{Load, Transport},
};

/// Orders that wait; whoever has more to say waits.
const ORDERS_MAX: usize = 8;
/// New connections per second, so that there is something to see.
const PER_SECOND: u32 = 25;
/// How long they go on before it is looked whether anybody still looks.
const TURN: Duration = Duration::from_secs(2);

/// How each line is broken.
#[derive(Debug)]
pub(super) struct Switches<'l> {
    lab: &'l Lab,
    broken: Mutex<Vec<Broken<'l>>>,
}

impl<'l> Switches<'l> {
    /// All lines whole.
    pub(super) fn new(lab: &'l Lab) -> Self {
        Self {
            lab,
            broken: Mutex::default(),
        }
    }

    /// Breaks a line until it is healed.
    pub(super) fn break_line(&self, isp: Isp, fault: Fault) -> Result<()> {
        ensure!(self.lab.isps().any(|i| i == isp), "there is no {isp} here");
        let mut broken = self.broken();
        let is_twice = broken
            .iter()
            .any(|b| b.isp() == isp && b.fault().is_same_kind(fault));
        ensure!(!is_twice, "{isp} is broken that way already");
        broken.push(fault.apply(self.lab, isp)?);
        Ok(())
    }

    /// Heals a line, or all, and says what was wrong.
    pub(super) fn heal(&self, isp: Option<Isp>) -> Result<Vec<(Isp, Fault)>> {
        let is_meant = |i: Isp| isp.is_none_or(|wanted| wanted == i);
        let mut broken = self.broken();
        let (meant, rest) = std::mem::take(&mut *broken)
            .into_iter()
            .partition::<Vec<_>, _>(|b| is_meant(b.isp()));
        *broken = rest;
        let mut healed = Vec::new();
        // The last fault first: each was laid over what was there before it.
        for broken in meant.into_iter().rev() {
            healed.push((broken.isp(), broken.fault()));
            broken.heal()?;
        }
        Ok(healed)
    }

    /// Does something while the page can be looked at from outside, with some traffic to be seen on it.
    pub(super) fn in_view<T>(
        &self,
        outside: Outside,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let (orders, received) = mpsc::channel(ORDERS_MAX);
        let window = outside.serve(self.lab.router(), orders)?;
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| self.obey(received));
            scope.spawn(|| self.make_traffic(&is_over));
            let result = work();
            is_over.store(true, Ordering::Relaxed);
            // With it go those who give orders.
            drop(window);
            result
        })
    }

    fn obey(&self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            // Who asked may be gone by now.
            match order {
                Order::List(answer) => drop(answer.send(self.list())),
                Order::Break(isp, fault, answer) => {
                    drop(answer.send(self.break_line(isp, fault)));
                }
                Order::Heal(isp, answer) => drop(answer.send(self.heal(Some(isp)).map(drop))),
            }
        }
    }

    fn make_traffic(&self, is_over: &AtomicBool) {
        while !is_over.load(Ordering::Relaxed) {
            let servers = self.lab.servers(Family::V4);
            let load = Load::new(Transport::Udp, PER_SECOND, TURN, servers);
            if load.run(self.lab.client()).is_err() {
                return;
            }
        }
    }

    fn list(&self) -> Vec<(Isp, Vec<Fault>)> {
        let broken = self.broken();
        let of = |isp| {
            let faults = broken.iter().filter(|b| b.isp() == isp);
            (isp, faults.map(Broken::fault).collect())
        };
        self.lab.isps().map(of).collect()
    }

    fn broken(&self) -> MutexGuard<'_, Vec<Broken<'l>>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
