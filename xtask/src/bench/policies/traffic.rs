//! Packets through all routers in turn.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use uplinkd_model::Family;

use super::{
    generator::{Generator, Stream, stay_on_one_processor},
    router::{Kind, Router},
    wish::{FEW, MANY, Policies, destinations},
};
use crate::bench::{
    print::talk,
    program::Programs,
    statistics::{quantile, sorted},
};

/// The routers, the one that costs nothing first.
pub(super) const KINDS: [Kind; 12] = [
    Kind::Floor,
    Kind::Masquerade,
    uplinkd(2, Policies::None),
    uplinkd(2, Policies::Addresses(FEW)),
    uplinkd(2, Policies::Addresses(MANY)),
    uplinkd(2, Policies::Prefixes(FEW)),
    uplinkd(2, Policies::Prefixes(MANY)),
    uplinkd(2, Policies::Mixed(FEW)),
    uplinkd(2, Policies::Mixed(MANY)),
    uplinkd(7, Policies::Addresses(MANY)),
    Kind::List(Policies::Addresses(FEW)),
    Kind::List(Policies::Addresses(MANY)),
];

const fn uplinkd(uplinks: usize, policies: Policies) -> Kind {
    Kind::Uplinkd { uplinks, policies }
}

/// What is sent through each router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Load {
    /// One long flow.
    Established,
    /// New connections to the few destinations that every list of policies knows.
    NewFew,
    /// New connections to all destinations, so that nothing stays in the processor's caches.
    NewMany,
}

/// In the order of the figures.
pub(super) const LOADS: [Load; 3] = [Load::Established, Load::NewFew, Load::NewMany];

/// Packets of one burst: some 15 ms, short enough that a burst is seldom interrupted.
const BURST_ESTABLISHED: usize = 8192;
const BURST_NEW: usize = 4096;
/// New connections through a list of thousands of rules take fifty times as long.
const BURST_SLOW: usize = 256;
/// Sent before each measurement, so that the long flow is known again, and neighbours too.
const WARM_UP: usize = 64;
/// Source ports, one for each load.
const FIRST_PORT: u16 = 5000;
/// Packets that may be lost of a burst, in a thousand: none is, but a count may be read too early.
const LOST_MAX_PER_MILLE: u64 = 2;

/// Everything that was measured: nanoseconds for a packet, by router, load and round.
pub(super) struct Measured {
    figures: Vec<[Vec<f64>; LOADS.len()]>,
}

/// The work for a packet in one router, for each load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Cost {
    /// Which router.
    pub(super) router: String,
    /// By load.
    pub(super) loads: Vec<LoadCost>,
}

/// The work for a packet, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LoadCost {
    pub(super) load: Load,
    /// The sender's own work included.
    pub(super) whole: Middle,
    /// Without the sender's own work.
    pub(super) router: Middle,
    /// What one processor sends and forwards in a second.
    pub(super) packets_per_second: f64,
}

/// The middle of many figures, and where the lowest and the highest tenth end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Middle {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Middle {
    /// Of at least one figure; otherwise nothing but "not a number".
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let all = sorted(figures);
        let part = |p| quantile(&all, p).unwrap_or(f64::NAN);
        Self {
            low: part(0.1),
            median: part(0.5),
            high: part(0.9),
        }
    }
}

impl Measured {
    /// Without the sender's own work, round by round.
    pub(super) fn router(&self, kind: Kind, load: Load) -> impl Iterator<Item = f64> {
        self.whole(kind, load)
            .zip(self.whole(Kind::Floor, load))
            .map(|(whole, floor)| whole - floor)
    }

    fn whole(&self, kind: Kind, load: Load) -> impl Iterator<Item = f64> {
        let router = KINDS.iter().position(|k| *k == kind);
        let load = LOADS.iter().position(|l| *l == load);
        let rounds = router
            .zip(load)
            .map(|(router, load)| &self.figures[router][load]);
        rounds.into_iter().flatten().copied()
    }

    /// Few figures out of many.
    pub(super) fn costs(&self) -> Vec<Cost> {
        let load = |kind: Kind, load: Load| {
            let whole = Middle::of(self.whole(kind, load));
            LoadCost {
                load,
                whole,
                router: Middle::of(self.router(kind, load)),
                packets_per_second: 1e9 / whole.median,
            }
        };
        let cost = |kind: &Kind| Cost {
            router: kind.to_string(),
            loads: LOADS.map(|l| load(*kind, l)).into(),
        };
        KINDS.iter().map(cost).collect()
    }
}

/// Builds all routers and measures them.
///
/// # Errors
/// When a router cannot be built, does not lead as it should, or loses packets.
pub(super) fn measure(family: Family, rounds: usize, programs: &Programs) -> Result<Measured> {
    let mut stands = Vec::new();
    for kind in KINDS {
        talk(&format!("starting: {kind}"));
        stands.push(Stand::new(kind, family, programs)?);
    }
    talk(&format!("{rounds} rounds"));
    let measured = thread::scope(|scope| {
        // On a thread of its own, since what it starts would stay on its processor too.
        let work = scope.spawn(|| {
            stay_on_one_processor()?;
            all_rounds(&mut stands, rounds)
        });
        work.join()
            .map_err(|_| anyhow::anyhow!("the measurement broke down"))?
    })?;
    for stand in &stands {
        stand.check_losses()?;
    }
    Ok(measured)
}

fn all_rounds(stands: &mut [Stand], rounds: usize) -> Result<Measured> {
    let mut figures: Vec<[Vec<f64>; LOADS.len()]> = vec![Default::default(); stands.len()];
    for round in 0..rounds {
        for offset in 0..stands.len() {
            // Each round begins with another one, so that nobody always comes after the same.
            let index = (round + offset) % stands.len();
            for (load, figures) in figures[index].iter_mut().enumerate() {
                figures.push(stands[index].burst(load)?);
            }
        }
    }
    Ok(Measured { figures })
}

/// A router with its traffic.
struct Stand {
    router: Router,
    generators: Vec<Generator>,
    sent: u64,
    arrived_before: u64,
}

impl Stand {
    fn new(kind: Kind, family: Family, programs: &Programs) -> Result<Self> {
        let router = Router::start(kind, family, programs)
            .with_context(|| format!("this router does not work: {kind}"))?;
        let few = destinations(family, FEW);
        let streams = LOADS.map(|load| match load {
            Load::Established => Stream::Established((few[FEW / 2], 9).into()),
            Load::NewFew => Stream::New(few.clone()),
            Load::NewMany => Stream::New(destinations(family, MANY)),
        });
        let generators = (FIRST_PORT..)
            .zip(streams)
            .map(|(port, stream)| router.door.generator(family, port, stream))
            .collect::<Result<_>>()?;
        let arrived_before = router.door.arrived()?.iter().sum();
        Ok(Self {
            router,
            generators,
            sent: 0,
            arrived_before,
        })
    }

    /// Nanoseconds for a packet of a load.
    fn burst(&mut self, load: usize) -> Result<f64> {
        self.router.door.forget_connections()?;
        let generator = &mut self.generators[load];
        let packets = match (LOADS[load], self.router.kind) {
            (Load::Established, _) => BURST_ESTABLISHED,
            (Load::NewFew | Load::NewMany, Kind::List(Policies::Addresses(MANY))) => BURST_SLOW,
            (Load::NewFew | Load::NewMany, _) => BURST_NEW,
        };
        let warm_up = generator.send(WARM_UP)?;
        let burst = generator.send(packets)?;
        self.sent += (warm_up.packets + burst.packets) as u64;
        Ok(burst.nanoseconds())
    }

    /// A router that drops packets would look fast.
    fn check_losses(&self) -> Result<()> {
        if self.router.kind == Kind::Floor {
            return Ok(());
        }
        let arrived = self.router.door.arrived()?.iter().sum::<u64>() - self.arrived_before;
        let least = self.sent - self.sent * LOST_MAX_PER_MILLE / 1000;
        ensure!(
            arrived >= least,
            "{}: of {} packets only {arrived} arrived",
            self.router.kind,
            self.sent
        );
        Ok(())
    }
}
