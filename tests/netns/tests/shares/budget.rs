//! Budgets: every byte counts, over restarts too, and what becomes of a line at its limit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use uplinkd_api::{BudgetStatus, Status};
use uplinkd_kernel::Kernel;
use uplinkd_lab::{Fault, LabSpec, traffic::Transport};
use uplinkd_model::{Family, Health};
use uplinkd_netns_tests::{Ask, EVENTUALLY, Rig, config, find_uplink, isp, servers, within};

use crate::common::{carried, under_loads};

const V4: Family = Family::V4;
const PORT: u16 = uplinkd_lab::traffic::PORT;
const METERED: u16 = 5303;
const SOON: Duration = Duration::from_secs(60);

fn with_budget(limit: &str, at_limit: &str) -> String {
    config(&[1, 1])
        + &format!("[uplink.isp1.budget]\nlimit = \"{limit}\"\nat_limit = \"{at_limit}\"\n")
}

/// What the interface of the first line has counted.
fn counted(rig: &Rig) -> Result<u64> {
    rig.lab().router().run(|| {
        let index = nix::net::if_::if_nametoindex("wan1")?;
        let counters = Kernel::open()?.counters(&[index]);
        let own = counters.get(&index).context("no counters")?;
        Ok(own.rx_bytes + own.tx_bytes)
    })
}

fn budget(status: &Status) -> Option<&BudgetStatus> {
    find_uplink(status, isp(1))?.budget.as_ref()
}

fn serves(status: &Status, line: usize) -> bool {
    find_uplink(status, isp(line)).is_some_and(|u| u.in_service)
}

pub(crate) fn every_byte_counts_over_stops_and_kills() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &with_budget("1TB", "keep"))?;
    let before = counted(&rig)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    rig.wait_for("it counts", EVENTUALLY, |s| budget(s).is_some())?;
    let begun = counted(&rig)?;
    let lab = rig.shared_lab();
    let ensure_exact = |rig: &Rig, when: &str| -> Result<()> {
        let least = counted(rig)? - begun;
        let mut used = 0;
        within(when, EVENTUALLY, || {
            used = rig
                .status()
                .ok()
                .as_ref()
                .and_then(budget)
                .map_or(0, |b| b.used);
            Ok(used >= least)
        })
        .with_context(|| format!("{used} bytes, and not {least}"))?;
        let most = counted(rig)? - before;
        ensure!(used <= most, "{when}: {used} bytes of {least} to {most}");
        Ok(())
    };
    // What passes while no daemon runs is part of it.
    let history = || {
        std::thread::sleep(Duration::from_millis(500));
        ensure_exact(&rig, "under traffic")?;
        rig.stop_daemon()?;
        std::thread::sleep(Duration::from_millis(500));
        rig.start_daemon()?;
        ensure_exact(&rig, "after a stop")?;
        rig.kill_daemon()?;
        std::thread::sleep(Duration::from_millis(500));
        rig.start_daemon()?;
        ensure_exact(&rig, "after a kill")
    };
    under_loads(&lab, 16_000, history)?;
    let used = counted(&rig)? - before;
    ensure!(
        used > 1_000_000,
        "the load has not gone by isp1, or hardly: {used}"
    );
    ensure_exact(&rig, "at the end")
}

pub(crate) fn at_its_limit_a_line_is_the_last_resort() -> Result<()> {
    let rig = Rig::start(&with_budget("4MB", "last-resort"))?;
    let to = servers(rig.lab());
    let mut held = Vec::new();
    for server in to.iter().cycle().take(20) {
        let mut open = Ask::new(Transport::Udp, *server).open(rig.lab().client())?;
        if open.ask().isp() == Some(isp(1)) {
            held.push(open);
        }
    }
    use_up(&rig, |s| !serves(s, 1) && serves(s, 2))?;
    let [first, second, _] = carried(&rig, V4, PORT, 60)?;
    ensure!((first, second) == (0, 60), "at the limit: {first} {second}");
    // Connections cost as well: they are released, and go on over the other line.
    for open in &mut held {
        let moved = (0..5).any(|_| open.ask().isp() == Some(isp(2)));
        ensure!(
            moved,
            "a connection stays on a line that has used up its budget"
        );
    }
    let events = rig.events()?.events;
    let levels: Vec<_> = events.iter().filter(|e| e.kind == "budget").collect();
    ensure!((1..=3).contains(&levels.len()), "{levels:#?}");
    let last = levels.last().context("nothing was told")?;
    ensure!(last.text.contains("100% of its budget"), "{last:?}");
    let broken = Fault::Upstream.apply(rig.lab(), isp(2))?;
    rig.wait_for("isp1 is the last resort", SOON, |s| {
        s.settled && serves(s, 1) && !serves(s, 2)
    })?;
    let [first, _, _] = carried(&rig, V4, PORT, 20)?;
    ensure!(first == 20, "{first} of 20 by the last resort");
    broken.heal()?;
    rig.wait_for("isp2 is back", SOON, |s| {
        s.settled && !serves(s, 1) && serves(s, 2)
    })?;
    let done = rig.tool("uplinkctl", &["budget", "isp1", "--set", "1MB"])?;
    ensure!(done.status.success(), "{done:?}");
    rig.wait_for("it has something left", SOON, |s| s.settled && serves(s, 1))?;
    let [first, second, _] = carried(&rig, V4, PORT, 60)?;
    ensure!(
        first > 10 && second > 10,
        "with a budget again: {first} {second}"
    );
    Ok(())
}

pub(crate) fn a_line_that_is_off_carries_nothing_even_alone() -> Result<()> {
    let rig = Rig::start(&with_budget("2MB", "off"))?;
    use_up(&rig, |s| !serves(s, 1) && serves(s, 2))?;
    let broken = Fault::Carrier.apply(rig.lab(), isp(2))?;
    rig.wait_for("nobody serves", SOON, |s| {
        s.settled && !serves(s, 1) && !serves(s, 2)
    })?;
    let counts = carried(&rig, V4, PORT, 20)?;
    ensure!(counts == [0, 0, 0], "a line that is off: {counts:?}");
    broken.heal()?;
    // With a carrier it serves as the last resort at once, also while the far end of its cable, whose
    // kernel takes up to a second for it, still drops what it sends.
    rig.wait_for("isp2 is back", SOON, |s| {
        let isp2 = find_uplink(s, isp(2));
        s.settled && isp2.is_some_and(|u| u.in_service && u.health == Health::Up)
    })?;
    let [first, second, _] = carried(&rig, V4, PORT, 20)?;
    ensure!((first, second) == (0, 20), "{first} {second}");
    Ok(())
}

pub(crate) fn a_group_uses_a_line_while_there_is_budget() -> Result<()> {
    let group = format!(
        "[group.metered]\ntiers = [[\"isp1\"]]\nwhile_budget = true\n\
         [[policy]]\nmatch = {{ dport = {METERED} }}\nuse = \"metered\"\notherwise = \"block\"\n"
    );
    let rig = Rig::start(&(with_budget("2MB", "keep") + &group))?;
    rig.lab().answer_everywhere()?;
    let [first, second, _] = carried(&rig, V4, METERED, 20)?;
    ensure!((first, second) == (20, 0), "at first: {first} {second}");
    use_up(&rig, |s| budget(s).is_some_and(|b| b.spent))?;
    let counts = carried(&rig, V4, METERED, 20)?;
    ensure!(counts == [0, 0, 0], "without a budget: {counts:?}");
    // The line itself goes on.
    let [first, second, _] = carried(&rig, V4, PORT, 60)?;
    ensure!(first > 10 && second > 10, "the others: {first} {second}");
    Ok(())
}

/// Sends over both lines until the first one has used up its budget.
fn use_up(rig: &Rig, done: impl Fn(&Status) -> bool) -> Result<()> {
    let until = || {
        rig.wait_for("the budget is used up", SOON, |s| s.settled && done(s))?;
        Ok(())
    };
    under_loads(rig.lab(), 16_000, until)
}
