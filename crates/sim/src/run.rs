//! One history from beginning to end: trouble, quiet, comparison with the reference, removal.

use std::{fmt, time::Duration};

use uplinkd_core::{Event, Time, Wishes, event::HintKind, reconcile};
use uplinkd_model::{Family, Outcome, Step};

pub use crate::world::Report;
use crate::{
    compare::judge,
    delegation, faults, operate, reference, scenario,
    world::{Happening, World},
};

/// The longest that settling may take once all is quiet: a slow look (30 s), the longest wait
/// between attempts (30 s), and probes on top.
const SETTLE_MAX: Duration = Duration::from_secs(90);
/// Lines of the trace that a failure shows.
const TRACE_MAX: usize = 160;

/// A broken invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the history.
    pub seed: u64,
    /// When, in virtual time.
    pub at: Time,
    /// Which invariant, and how.
    pub what: String,
    /// What happened before, one line each.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, .. } = self;
        let from = self.trace.len().saturating_sub(TRACE_MAX);
        if from > 0 {
            writeln!(f, "      ... {from} lines before")?;
        }
        for line in &self.trace[from..] {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "seed {seed} at {:.6} s: {}",
            self.at.0.as_secs_f64(),
            self.what
        )?;
        let next = seed.wrapping_add(1);
        write!(
            f,
            "again: UPLINKD_SIM_SEEDS={seed}..{next} cargo test -p uplinkd-sim"
        )
    }
}

/// Plays the history of a seed.
///
/// # Errors
/// [`Failure`] says which invariant broke and what came before it.
pub fn run(seed: u64) -> Result<Report, Box<Failure>> {
    let (result, _) = play(seed, false);
    result.map_err(|_| {
        // Once more, this time writing down what happens.
        let (again, mut world) = play(seed, true);
        Box::new(Failure {
            seed,
            at: world.now(),
            what: again
                .err()
                .unwrap_or_else(|| "not the same twice".to_owned()),
            trace: world.trace.take().unwrap_or_default(),
        })
    })
}

/// Plays the history of a seed and gives the whole trace, for a person to read.
pub fn trace(seed: u64) -> Vec<String> {
    let (result, mut world) = play(seed, true);
    let mut lines = world.trace.take().unwrap_or_default();
    lines.extend(result.err());
    lines
}

fn play(seed: u64, traced: bool) -> (Result<Report, String>, World) {
    let mut luck = fastrand::Rng::with_seed(seed);
    let (scenario, kernel, net) = scenario::draw(&mut luck);
    let mut world = World::new(scenario, kernel, net, luck, traced);
    let result = history(&mut world);
    (result, world)
}

fn history(world: &mut World) -> Result<Report, String> {
    introduce(world);
    let flavour = faults::flavour(&mut world.luck);
    let trouble = Time(Duration::from_millis(world.luck.u64(5_000..30_000)));
    let lines = world.net.lines.len();
    let delegations = delegation::draw_faults(&world.luck, &world.net.lines, trouble);
    for (at, fault) in delegations {
        world.agenda.note(at, Happening::Fault(fault));
    }
    let orders = operate::draw(&world.luck, world.scenario.uplinks.len(), trouble);
    for (at, fault) in orders {
        world.agenda.note(at, Happening::Fault(fault));
    }
    for (at, fault) in faults::draw(&mut world.luck, flavour, lines, trouble) {
        // The first moments are the daemon's, more often than not.
        let at = if world.luck.u8(0..3) > 0 {
            at + Duration::from_secs(3)
        } else {
            at
        };
        world.agenda.note(at, Happening::Fault(fault));
    }
    (0..lines).for_each(|l| world.set_default(l, true));
    if world.scenario.squatted {
        world.excuse_for_ever();
    }
    world.agenda.note(Time::default(), Happening::Start);
    world.agenda.note(Time::default(), Happening::Connect);
    let first_minute = Time(Duration::from_millis(world.luck.u64(0..60_000)));
    world.agenda.note(first_minute, Happening::Minute);
    world.run_until(trouble + Duration::from_secs(3))?;

    world.calm_down();
    world.end_wishes()?;
    if flavour.hostile && world.luck.u8(0..3) == 0 {
        // Nobody hears of the end, so that a slow look has to find it.
        world.be_deaf(Duration::from_secs(1));
    }
    heal(world);
    if world.scenario.squatted {
        let end = world.now() + Duration::from_secs(10);
        world.run_until(end)?;
    } else {
        settle(world)?;
        stay_settled(world)?;
        // With nothing up a restart may keep fewer for last resort, as they are found dead in turn.
        let is_last_resort = world.said.last_resort.v4 || world.said.last_resort.v6;
        if world.luck.u8(0..3) == 0 && !is_last_resort {
            start_again(world)?;
        }
    }
    remove(world)?;
    world.report.lasted = world.now().0;
    Ok(world.report)
}

fn introduce(world: &mut World) {
    let config = world.scenario.config.clone();
    for (n, line) in world.net.lines.clone().into_iter().enumerate() {
        let uplink = &config.uplinks[line.uplink];
        let Some(access) = uplink.access(line.family) else {
            continue;
        };
        let probe = &access.probe;
        world.say(|| {
            format!(
                "line {n}: {} ({}) slot {} on {}, there {}, expected {}, gateway {:?}; targets {:?}, quorum {}, every {:?} within {:?}, fall {}, rise {}",
                uplink.name, line.family, uplink.slot, uplink.interface, line.provided,
                access.expected, access.gateway,
                probe.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
                probe.quorum, probe.interval, probe.timeout, probe.fall, probe.rise
            )
        });
    }
    world.say_file();
}

/// Ends the trouble; each line stays broken in its way, or works.
fn heal(world: &mut World) {
    world.net.dead_hosts.clear();
    match world.luck.u8(0..6) {
        0 => drop(world.net.dead_hosts.insert(scenario::host(Family::V4, 1))),
        1 => drop(world.net.dead_hosts.insert(scenario::host(Family::V6, 1))),
        _ => {}
    }
    let mut states = vec![0; world.net.lines.len()];
    for (index, state) in states.iter_mut().enumerate() {
        *state = world.luck.u8(0..16);
        let line = world.net.lines[index].clone();
        let name = &line.interface;
        if world.kernel.link(name).is_none() {
            world.kernel.add_link(name);
        }
        world.kernel.set_admin(name, true);
        world.kernel.set_carrier(name, true);
        if line.provided {
            world.kernel.add_address(name, line.address);
        }
        world.set_default(index, true);
        let line = &mut world.net.lines[index];
        (line.gateway_alive, line.upstream_alive, line.loss) = (true, true, 0);
    }
    for (index, broken) in states.into_iter().enumerate() {
        let (name, address) = {
            let line = &world.net.lines[index];
            (line.interface.clone(), line.address)
        };
        match broken {
            0 => world.kernel.remove_link(&name),
            1 => world.kernel.set_carrier(&name, false),
            2 => world.kernel.set_admin(&name, false),
            3 => world.kernel.remove_address(&name, address),
            4 => world.net.lines[index].gateway_alive = false,
            5 => world.net.lines[index].upstream_alive = false,
            _ => {}
        }
        world.say(|| format!("quiet: line {index} ends in state {broken} (6 and more: well)"));
    }
    (0..world.net.lines.len()).for_each(|l| world.line_struck(l));
}

fn settle(world: &mut World) -> Result<(), String> {
    // What fell silent with the last fault must have had the time to be found out.
    let lines = 0..world.net.lines.len();
    let longest = lines.map(|l| world.time_to_fall(l)).max();
    let first = world.now() + longest.unwrap_or_default() + Duration::from_millis(500);
    world.run_until(first)?;
    let end = world.now() + SETTLE_MAX;
    loop {
        let next = world.now() + Duration::from_millis(500);
        world.run_until(next)?;
        match judge(world) {
            Ok(()) => return Ok(()),
            Err(what) if world.now() > end => {
                return Err(format!("after {SETTLE_MAX:?} of quiet: {what}"));
            }
            Err(_) => {}
        }
    }
}

/// What is settled stays so, and another look finds nothing to do.
fn stay_settled(world: &mut World) -> Result<(), String> {
    // What was tampered with while nobody listened, and changes no way, is found by any look.
    let what = HintKind::Overrun;
    world.feed(Event::Hint { what })?;
    settle(world)?;
    let leftovers = reference::leftovers(&world.scenario.config, &world.kernel);
    if !leftovers.is_empty() {
        return Err(format!("nobody wants any more: {leftovers:?}"));
    }
    let end = world.now() + Duration::from_secs(2);
    world.run_until(end)?;
    if failback_is_near(world, Duration::from_secs(3)) || is_measured(world) {
        settle(world)?;
    }
    judge(world).map_err(|what| format!("settled, and then: {what}"))?;
    let failbacks = world.report.failbacks;
    let (plans, before) = (world.report.plans, world.fingerprint());
    world.feed(Event::Hint { what })?;
    let end = world.now() + Duration::from_secs(1);
    world.run_until(end)?;
    let is_other = world.report.plans != plans && !is_only_weights(world, &before);
    if is_other && world.report.failbacks == failbacks {
        return Err("a second reconcile was not empty".to_owned());
    }
    if world.report.failbacks != failbacks || is_measured(world) {
        return settle(world);
    }
    judge(world).map_err(|what| format!("settled, and after a look: {what}"))
}

/// Whether some outlet goes back to a better tier by itself about now.
fn failback_is_near(world: &World, span: Duration) -> bool {
    let at = world.next_failback();
    at.is_some_and(|at| at < world.now() + span)
}

/// A restart over a settled kernel changes nothing in it.
fn start_again(world: &mut World) -> Result<(), String> {
    let daemon = world.daemon.as_ref();
    // What is wanted for a while may end meanwhile.
    let is_wanted = daemon.is_some_and(|d| *d.controller.wishes() != Wishes::default());
    world.die();
    world.note_in(Duration::from_millis(100), Happening::Start);
    let (before, version) = (world.fingerprint(), world.kernel.version());
    let (failbacks, absent) = (world.report.failbacks, world.said.absent.clone());
    settle(world)?;
    // What was there once is missed when it is gone, but not by the next daemon.
    let forgets = world.said.absent != absent;
    let is_equal = world.kernel.version() == version
        || world.report.failbacks != failbacks
        || is_only_weights(world, &before);
    if !is_equal && !forgets && !is_wanted {
        return Err(format!(
            "a restart changed the kernel: {:?} became {:?}",
            before,
            world.fingerprint()
        ));
    }
    Ok(())
}

/// Whether nothing but shares that follow the lines may have changed: these never rest for good, since
/// round-trip times are thrown by dice.
fn is_only_weights(world: &World, before: &[String]) -> bool {
    let bare = |lines: &[String]| lines.iter().map(|l| bare(l)).collect::<Vec<_>>();
    is_measured(world) && bare(before) == bare(&world.fingerprint())
}

/// Whether shares of some outlet follow the lines, and may so be changed at any moment.
fn is_measured(world: &World) -> bool {
    let mut layouts = world.layouts.iter();
    layouts.any(|l| l.v4.is_measured || l.v6.is_measured)
}

/// A nexthop group without its members' weights; anything else as it is.
fn bare(line: &str) -> String {
    let Some((head, group)) = line.split_once(" group ") else {
        return line.to_owned();
    };
    let members = group.split('/').map(|m| m.split(',').next().unwrap_or(m));
    format!("{head} group {}", members.collect::<Vec<_>>().join("/"))
}

/// Takes everything away, as `uplinkd` does when it is uninstalled.
fn remove(world: &mut World) -> Result<(), String> {
    world.die();
    world.begin_removal();
    let observed = world.kernel.observe(true, &[]);
    let claims = [world.scenario.config.reserve.clone()];
    for planned in reconcile::removal(&observed, &claims).steps {
        let outcome = world.execute(&planned.step)?;
        world.check()?;
        let step = &planned.step;
        if outcome != Outcome::Done && !matches!(step, Step::DeleteNexthop(_)) {
            return Err(format!("removal: `{step}` came to {outcome:?}"));
        }
    }
    if let Some(trespass) = world.kernel.trespass() {
        return Err(format!("removal touched what is not ours: it {trespass}"));
    }
    let remains = world.kernel.remains();
    if !remains.is_empty() {
        return Err(format!("after removal there is still: {remains:?}"));
    }
    let observed = world.kernel.observe(true, &[]);
    if !reconcile::removal(&observed, &claims).is_empty() {
        return Err("a second removal is not empty".to_owned());
    }
    Ok(())
}
