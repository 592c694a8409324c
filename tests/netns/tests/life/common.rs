//! What these tests say again and again: ours in the kernel, what the programs print, traffic.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use uplinkd_kernel::{Kernel, Look};
use uplinkd_lab::{
    Isp,
    process::Output,
    stretched,
    traffic::{Attempts, Flow, FlowSpec, Load, Running, Transport},
};
use uplinkd_model::{Nexthop, NexthopId, Observed, Reserve, Route, Rule, TableId};
use uplinkd_netns_tests::{EVENTUALLY, Rig, servers, within};

/// How soon drift must be repaired. The promise is a second; the rest is for a busy machine.
pub(crate) const REPAIRED: Duration = Duration::from_secs(3);

/// Ours, as far as the kernel knows it, in an order that does not depend on how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ours {
    /// A rule that is there twice is here twice.
    pub(crate) rules: Vec<Rule>,
    pub(crate) routes: Vec<Route>,
    pub(crate) nexthops: BTreeMap<NexthopId, Nexthop>,
    nft: String,
    table_names: BTreeMap<TableId, String>,
}

impl Ours {
    /// What of a look belongs to the default reserve.
    pub(crate) fn of(observed: &Observed) -> Self {
        Self::under(&Reserve::default(), observed)
    }

    /// What of a look belongs to a reserve.
    pub(crate) fn under(reserve: &Reserve, observed: &Observed) -> Self {
        let mut rules: Vec<_> = observed.rules.clone();
        rules.retain(|r| reserve.owns_rule(r));
        rules.sort();
        let routes = observed.routes.iter().filter(|r| reserve.owns_route(r));
        let nexthops = observed.nexthops.values();
        Self {
            rules,
            routes: routes.cloned().collect(),
            nexthops: nexthops
                .filter(|n| reserve.owns_nexthop(n))
                .map(|n| (n.id, n.clone()))
                .collect(),
            nft: format!("{:?}", observed.nft),
            table_names: observed.table_names.clone(),
        }
    }

    /// Looks at the router.
    pub(crate) fn read(rig: &Rig) -> Result<Self> {
        Ok(Self::of(&rig.dump()?))
    }

    /// An error that names what is other than in `wanted`.
    pub(crate) fn ensure_is(&self, wanted: &Self) -> Result<()> {
        if self == wanted {
            return Ok(());
        }
        let lines = |ours: &Self| {
            let mut lines: Vec<_> = ours.rules.iter().map(|r| format!("rule {r}")).collect();
            lines.extend(ours.routes.iter().map(|r| format!("route {r}")));
            lines.extend(ours.nexthops.values().map(|n| format!("nexthop {n}")));
            lines.push(format!("names {:?}", ours.table_names));
            lines.push(format!("nft {}", ours.nft));
            lines
        };
        anyhow::bail!(
            "ours is other than it should be:\n{}",
            difference(&lines(wanted), &lines(self))
        )
    }
}

/// Lines that only one of the two has, with doubles.
pub(crate) fn difference(wanted: &[String], found: &[String]) -> String {
    let only = |in_this: &[String], other: &[String], sign: &str| {
        let mut left = other.to_vec();
        let mut lines = Vec::new();
        for line in in_this {
            match left.iter().position(|l| l == line) {
                Some(at) => drop(left.swap_remove(at)),
                None => lines.push(format!("{sign} {line}")),
            }
        }
        lines
    };
    let mut lines = only(wanted, found, "  - missing:");
    lines.extend(only(found, wanted, "  + too much:"));
    lines.join("\n")
}

/// `nft` with arguments.
pub(crate) fn nft(arguments: &[&str]) -> Command {
    let mut command = Command::new("nft");
    command.args(arguments);
    command
}

/// Runs `uplinkd` inside the router; whether it says yes or no is up to the caller.
pub(crate) fn uplinkd(rig: &Rig, arguments: &[&str]) -> Result<Output> {
    rig.tool("uplinkd", arguments)
}

/// Runs `uplinkd` inside the router; it must end with this exit code and say these words.
pub(crate) fn says(rig: &Rig, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let output = uplinkd(rig, arguments)?;
    ensure_said(
        &format!("uplinkd {}", arguments.join(" ")),
        &output,
        code,
        words,
    )
}

/// Whether a program ended with this exit code and said these words.
pub(crate) fn ensure_said(what: &str, output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "`{what}` ended with {} instead of {code}:\n{said}",
        output.status
    );
    for word in words {
        ensure!(
            said.contains(word),
            "`{what}` does not say `{word}`:\n{said}"
        );
    }
    Ok(())
}

/// The steps that `uplinkd plan` prints, one line each; the content of nft tables is left out.
pub(crate) fn plan(rig: &Rig) -> Result<Vec<String>> {
    let output = uplinkd(rig, &["plan"])?;
    ensure_said("uplinkd plan", &output, 0, &[])?;
    let mut steps = Vec::new();
    let mut is_in_table = false;
    for line in output.stdout.lines() {
        if !is_in_table {
            steps.push(line.to_owned());
        }
        is_in_table = line.contains("<<'EOF'") || (is_in_table && line != "EOF");
    }
    Ok(steps)
}

/// An error unless `uplinkd plan` has nothing to do.
pub(crate) fn ensure_nothing_to_do(rig: &Rig) -> Result<()> {
    let steps = plan(rig)?;
    ensure!(steps.is_empty(), "a plan is left:\n{}", steps.join("\n"));
    Ok(())
}

/// As [`ensure_nothing_to_do`], while an uplink is out: its connections are released once more at
/// each start, which harms nobody where there are none.
pub(crate) fn ensure_nothing_but_a_release(rig: &Rig) -> Result<()> {
    let mut steps = plan(rig)?;
    steps.retain(|step| !step.starts_with("conntrack -D "));
    ensure!(steps.is_empty(), "a plan is left:\n{}", steps.join("\n"));
    Ok(())
}

/// Starts the daemon, which shall refuse to run, and returns how it ended.
pub(crate) fn refused_run(rig: &Rig, arguments: &[&str]) -> Result<Output> {
    // `tool` waits for the end, which a daemon that runs would not come to.
    let output = uplinkd(rig, arguments).context("the daemon does not refuse to start")?;
    ensure!(!output.status.success(), "the daemon ended with success");
    Ok(output)
}

/// Waits until ours is again as it was.
pub(crate) fn wait_restored(rig: &Rig, what: &str, wanted: &Ours) -> Result<()> {
    let mut last = None;
    let restored = within(what, REPAIRED, || {
        let found = Ours::read(rig)?;
        let is_so = found == *wanted;
        last = Some(found);
        Ok(is_so)
    });
    if let (Err(e), Some(last)) = (&restored, &last) {
        let log = rig
            .daemon()
            .map_or_else(|e| e.to_string(), |d| d.log_tail());
        last.ensure_is(wanted)
            .with_context(|| format!("{e:#}\n{log}"))?;
    }
    restored
}

/// 200 new connections per second from the LAN, for as long as wanted, each waited for so long that
/// a busy machine does not make one look lost.
pub(crate) fn steady_load(rig: &Rig) -> Result<Running> {
    let mut load = Load::new(
        Transport::Udp,
        200,
        stretched(Duration::from_secs(60)),
        servers(rig.lab()),
    );
    load.patience = Duration::from_secs(3);
    load.start(rig.lab().client())
}

/// Lets a load run on for a moment, ends it, and makes sure that it lost nothing.
pub(crate) fn ensure_flowed(load: Running) -> Result<()> {
    thread::sleep(stretched(Duration::from_millis(200)));
    ensure_none_lost(&load.stop()?)
}

/// An error when a load lost anything, or never ran.
pub(crate) fn ensure_none_lost(attempts: &Attempts) -> Result<()> {
    ensure!(attempts.0.len() > 20, "only {} attempts", attempts.0.len());
    let lost: Vec<_> = attempts.0.iter().filter(|a| !a.is_answered()).collect();
    let begun = attempts.0.first().map_or_else(Instant::now, |a| a.begun);
    ensure!(
        lost.is_empty(),
        "{} of {} connections were lost, the first {:?} after the start of traffic: {:?}",
        lost.len(),
        attempts.0.len(),
        lost.first().map(|a| a.begun.duration_since(begun)),
        lost.first().map(|a| a.ending),
    );
    Ok(())
}

/// Long UDP flows of the LAN: two that began on the line of isp1, two on that of isp2.
pub(crate) fn flows_on_both(rig: &Rig) -> Result<[Vec<Flow>; 2]> {
    const EACH: usize = 2;
    let start = |to: &IpAddr| {
        let spec = FlowSpec {
            every: Duration::from_millis(20),
            ..FlowSpec::new(Transport::Udp, *to)
        };
        Flow::start(rig.lab().client(), spec)
    };
    // Chance would put all of so many on one line once in a million times.
    let to = servers(rig.lab());
    let begun = Instant::now();
    let flows = to.iter().take(40).map(start).collect::<Result<Vec<_>>>()?;
    let mut kept = [Vec::new(), Vec::new()];
    let mut others = Vec::new();
    for flow in flows {
        flow.wait_for_answer(begun, EVENTUALLY)
            .context("a flow does not begin")?;
        let line = flow.record().last_isp().context("a flow over no line")?;
        match kept.get_mut(line.index()) {
            Some(kept) if kept.len() < EACH => kept.push(flow),
            _ => others.push(flow),
        }
    }
    ensure!(
        kept.iter().all(|k| k.len() == EACH),
        "all flows on one line"
    );
    // Each waits a little for its last answers when it ends.
    thread::scope(|scope| {
        for flow in others {
            scope.spawn(|| drop(flow));
        }
    });
    Ok(kept)
}

/// The interface's number now.
pub(crate) fn ifindex(rig: &Rig, isp: Isp) -> Result<u32> {
    let name = isp.interface();
    let observed = rig.dump()?;
    let link = observed.link(&name);
    Ok(link.with_context(|| format!("no {name}"))?.device.index)
}

/// As `Rig::dump`, with an eye on everything that any of these reserves covers.
pub(crate) fn dump_under(rig: &Rig, reserves: &[Reserve]) -> Result<Observed> {
    let state = rig.places().state();
    rig.in_router(|| {
        let mut kernel = Kernel::open()?.with_state_dir(Some(state));
        Ok(kernel.observe(&Look {
            reserve: reserves.to_vec(),
            nft: true,
            table_names: true,
            ..Look::default()
        })?)
    })
}
