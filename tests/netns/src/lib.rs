//! What the end-to-end tests have in common: the real daemon, in a laboratory, and a look at both.
//!
//! The tests are in `tests/`: `traffic` follows packets, `policies` leads them apart, `life` follows
//! the daemon through start, crash, stop and drift, `coexistence` runs it beside other programs,
//! `gateways` moves addresses and gateways under it, `probes` asks targets of all kinds, `shares` sees who
//! carries what as lines get worse, `api` asks it whatever its document allows,
//! `operate` tells a running daemon what to do, `page` looks at it with a browser,
//! `history` what is remembered, `told` whom it tells,
//! `lines` puts it on other access lines, in a virtual machine. Nothing here decides what is right.

use std::{
    fmt::Write as _,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use uplinkd_api::{
    Client, ConnectionQuery, Events, Explain, ExplainConnection, ExplainQuery, History,
    HistoryQuery, Report, ReportQuery, State, Status, UplinkStatus,
};
use uplinkd_kernel::{Kernel, Look};
use uplinkd_lab::{
    Isp, Lab, LabSpec, Places, RouterDaemon, find_program,
    process::Output,
    stretched,
    traffic::{PORT, Servers},
};
use uplinkd_model::{Family, Observed, Outcome, Plan, Reserve, Step};

pub mod ask;
pub mod serving;

pub use ask::{Answer, Ask};

/// Long enough for anything that shall happen at all, also on a busy machine. Every limit is
/// stretched where it is used, by [`uplinkd_lab::SLOWNESS`].
pub const EVENTUALLY: Duration = Duration::from_secs(8);

/// How often the daemon asks, on a usual machine.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The targets of all uplinks, of both families. Nobody else speaks to them.
pub const TARGETS: [&str; 4] = [
    "198.18.0.1",
    "198.18.0.2",
    "2001:db8:ffff::1",
    "2001:db8:ffff::2",
];

/// A configuration for uplinks isp1, isp2, … on wan1, wan2, … with these weights, probed every
/// 100 ms, or less often on a slow machine: out after three lost answers, back after five. Both families have targets.
///
/// More can be added to the end, such as `[uplink.isp1.ipv4]`.
pub fn config(weights: &[u16]) -> String {
    let mut text = "lan = [\"lan0\"]\n".to_owned();
    uplinks(&mut text, weights);
    text
}

fn uplinks(text: &mut String, weights: &[u16]) {
    for (number, weight) in (1..).zip(weights) {
        let _ = write!(
            text,
            "[uplink.isp{number}]\ninterface = \"wan{number}\"\nweight = {weight}\n"
        );
    }
    let targets = TARGETS.map(|t| format!("\"icmp:{t}\"")).join(", ");
    let every = stretched(PROBE_EVERY).as_millis();
    let _ = write!(
        text,
        "[probe]\n\
         targets = [\"gateway\", {targets}]\n\
         interval = \"{every}ms\"\n\
         timeout = \"{every}ms\"\n\
         fall = 3\n\
         rise = 5\n\
         damping = \"off\"\n\
         loss = {{ degraded = \"off\" }}\n",
    );
}

/// As [`config`], for a laboratory that also has a network of guests.
pub fn config_with_guests(weights: &[u16]) -> String {
    let mut text = "lan = [\"lan0\", \"guest0\"]\n".to_owned();
    uplinks(&mut text, weights);
    text
}

/// A provider by its number.
///
/// # Panics
/// When there can be none of that number.
pub fn isp(number: usize) -> Isp {
    Isp::new(number).expect("providers are numbered from 1 to 15")
}

/// The IPv4 addresses in the internet that nobody uses as a target.
pub fn servers(lab: &Lab) -> Vec<IpAddr> {
    servers_of(lab, Family::V4)
}

/// The addresses of a family in the internet that nobody uses as a target.
pub fn servers_of(lab: &Lab, family: Family) -> Vec<IpAddr> {
    let mut servers = lab.servers(family);
    servers.retain(|s| !TARGETS.contains(&s.to_string().as_str()));
    servers
}

/// Waits until something holds.
///
/// # Errors
/// When it does not in time, or looking fails.
pub fn within(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let limit = stretched(limit);
    let deadline = Instant::now() + limit;
    while !holds()? {
        ensure!(Instant::now() < deadline, "{what}: not within {limit:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// A laboratory with servers in the internet, and the real daemon in its router.
///
/// Dropping it kills the daemon and everything else.
#[derive(Debug)]
pub struct Rig {
    daemon: Option<RouterDaemon>,
    places: Places,
    // Before the laboratory that they are in.
    _servers: Servers,
    lab: Arc<Lab>,
}

impl Rig {
    /// A laboratory of two providers with the daemon running and settled, everything up.
    ///
    /// # Errors
    /// When that does not come about.
    pub fn start(config: &str) -> Result<Self> {
        Self::start_in(LabSpec::default(), config)
    }

    /// The same in another laboratory.
    ///
    /// # Errors
    /// When that does not come about.
    pub fn start_in(spec: LabSpec, config: &str) -> Result<Self> {
        let mut rig = Self::without_daemon(spec, config)?;
        rig.start_daemon()?;
        rig.wait_settled()?;
        Ok(rig)
    }

    /// A laboratory and a file, with no daemon running yet.
    ///
    /// # Errors
    /// When the laboratory cannot be built.
    pub fn without_daemon(spec: LabSpec, config: &str) -> Result<Self> {
        program("uplinkd")?;
        let lab = Lab::build(spec)?;
        let places = Places::new(&lab)?;
        places.write_config(config)?;
        Ok(Self {
            daemon: None,
            places,
            _servers: Servers::start(lab.internet(), PORT)?,
            lab: Arc::new(lab),
        })
    }

    /// Starts the daemon and returns at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_daemon(&mut self) -> Result<()> {
        self.start_daemon_with(&[])
    }

    /// As [`Self::start_daemon`], with more in its environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_daemon_with(&mut self, more: &[(&str, &str)]) -> Result<()> {
        self.daemon = None; // The old one is gone before the new one comes.
        // With the kernel's hints and the single steps, which help when a test fails.
        let environment = [&[("UPLINKD_LOG", "debug")], more].concat();
        let uplinkd = program("uplinkd")?;
        let daemon =
            RouterDaemon::start(&self.lab, &self.places, &uplinkd, &["run"], &environment)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts the daemon by another program, which becomes it in the end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_daemon_by(&mut self, program: &Path, arguments: &[&str]) -> Result<()> {
        self.daemon = None;
        let environment = [("UPLINKD_LOG", "debug")];
        let daemon =
            RouterDaemon::start(&self.lab, &self.places, program, arguments, &environment)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Starts the daemon by a line of shell that ends with `exec uplinkd run`, such as one that mounts
    /// something first, which is then mounted for it alone.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_daemon_by_shell(&mut self, line: &str) -> Result<()> {
        let uplinkd = program("uplinkd")?.display().to_string();
        let line = line.replace("exec uplinkd", &format!("exec {uplinkd}"));
        let words = ["--mount", "--propagation", "private", "sh", "-ec", &line];
        self.start_daemon_by(Path::new("unshare"), &words)
    }

    /// Ends the daemon as a service manager does and waits for it.
    ///
    /// # Errors
    /// When none is running, or it does not end by itself, or not with success.
    pub fn stop_daemon(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("no daemon is running")?;
        let status = daemon.stop(EVENTUALLY)?;
        ensure!(
            status.success(),
            "the daemon ended with {status}\n{}",
            daemon.log_tail()
        );
        Ok(())
    }

    /// What the daemon has logged; empty where none is running.
    pub fn daemon_log(&self) -> String {
        self.daemon
            .as_ref()
            .map_or_else(String::new, RouterDaemon::log)
    }

    /// Kills the daemon without warning and waits until it is gone.
    ///
    /// # Errors
    /// When none is running.
    pub fn kill_daemon(&mut self) -> Result<()> {
        let daemon = self.daemon.take().context("no daemon is running")?;
        daemon.process().kill()
    }

    /// The running daemon.
    ///
    /// # Errors
    /// When none is running.
    pub fn daemon(&self) -> Result<&RouterDaemon> {
        self.daemon.as_ref().context("no daemon is running")
    }

    /// The network.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The network, for a fault that lasts while the daemon is stopped and started.
    pub fn shared_lab(&self) -> Arc<Lab> {
        Arc::clone(&self.lab)
    }

    /// Where the daemon's files are.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Runs `uplinkd` or `uplinkctl` with arguments inside the router.
    ///
    /// # Errors
    /// When it cannot be started or does not end; an exit code is not an error here.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Result<Output> {
        self.places.tool(&self.lab, &program(name)?, arguments)
    }

    /// What the daemon says about itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status> {
        let client = self.client();
        wait_for_answer(async move { Ok(client.status().await?) })
    }

    /// What the daemon says has happened.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn events(&self) -> Result<Events> {
        let client = self.client();
        wait_for_answer(async move { Ok(client.events(None).await?) })
    }

    /// Where the daemon says that connections would go.
    ///
    /// # Errors
    /// When it does not answer, or refuses the question.
    pub fn explain(&self, queries: &[ExplainQuery]) -> Result<Vec<Explain>> {
        let client = self.client();
        wait_for_answer(async move {
            let mut all = Vec::new();
            for query in queries {
                all.push(client.explain(query).await?);
            }
            Ok(all)
        })
    }

    /// Where the daemon says that an existing connection goes.
    ///
    /// # Errors
    /// When it does not answer, or knows no such connection.
    pub fn explain_connection(&self, query: &ConnectionQuery) -> Result<ExplainConnection> {
        let client = self.client();
        wait_for_answer(async move { Ok(client.explain_connection(query).await?) })
    }

    /// Tells the daemon to let a group return to its better level.
    ///
    /// # Errors
    /// When it does not answer, or refuses.
    pub fn fail_back(&self, group: &str) -> Result<()> {
        let client = self.client();
        wait_for_answer(async move {
            client.failback(group).await?;
            Ok(())
        })
    }

    fn client(&self) -> Client {
        Client::new(uplinkd_api::socket_path(&self.places.runtime()))
    }

    /// How things were in this month.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub fn report(&self) -> Result<Report> {
        let client = self.client();
        wait_for_answer(async move { Ok(client.report(&ReportQuery::default()).await?) })
    }

    /// How things were in the last ten minutes, in steps of ten seconds.
    ///
    /// # Errors
    /// When the daemon does not answer, or refuses.
    pub fn history(&self) -> Result<History> {
        let client = self.client();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let until = i64::try_from(now)? + 1;
        let query = HistoryQuery {
            since: Some(until - 600),
            until: Some(until),
            step: Some(10),
            ..HistoryQuery::default()
        };
        wait_for_answer(async move { Ok(client.history(&query).await?) })
    }

    /// How often something of a kind (`health`, `drift`, `reloaded`) has happened.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn count_events(&self, kind: &str) -> Result<usize> {
        let events = self.events()?.events;
        Ok(events.iter().filter(|e| e.kind == kind).count())
    }

    /// What the daemon says about IPv4 of one uplink.
    ///
    /// # Errors
    /// When it does not answer or knows none of that name.
    pub fn uplink(&self, isp: Isp) -> Result<UplinkStatus> {
        let status = self.status()?;
        find_uplink(&status, isp)
            .cloned()
            .with_context(|| format!("no {isp} in the status"))
    }

    /// Waits until the daemon says something; a daemon that does not answer yet is waited for.
    ///
    /// # Errors
    /// When it does not in time or ends before, with the end of its log.
    pub fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let limit = stretched(limit);
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status();
            if let Ok(status) = &status
                && holds(status)
            {
                return Ok(status.clone());
            }
            let daemon = self.daemon()?;
            if daemon.process().status().is_some() || Instant::now() >= deadline {
                let last = status.map_or_else(|e| format!("{e:#}"), |s| outline(&s));
                bail!(
                    "{what}: not within {limit:?}; last status: {last}\n{}",
                    daemon.log_tail()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until every uplink is up and serves in every family that it has, and the kernel holds
    /// what it should.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_settled(&self) -> Result<Status> {
        self.wait_for("all up and settled", EVENTUALLY, |s| {
            let mut uplinks = s.uplinks.iter().filter(|u| !u.absent);
            s.settled && s.state == State::Up && uplinks.all(|u| u.in_service)
        })
    }

    /// Waits until an uplink is out of service in every family that it has, while others serve, and
    /// the kernel is settled.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_out(&self, isp: Isp) -> Result<Status> {
        self.wait_for(&format!("{isp} is out"), EVENTUALLY, |s| {
            let mut entries = s.uplinks.iter().filter(|u| u.name == isp.to_string());
            s.settled && entries.all(|u| !u.in_service)
        })
    }

    /// Waits until an uplink is out of service in one family, and the kernel is settled.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_out_of(&self, isp: Isp, family: Family) -> Result<Status> {
        self.wait_for(&format!("{isp} is out for {family}"), EVENTUALLY, |s| {
            s.settled && find_line(s, isp, family).is_some_and(|u| !u.in_service)
        })
    }

    /// Has the daemon read another file, and waits until the kernel agrees.
    ///
    /// # Errors
    /// When it refuses the file, or does not settle.
    pub fn reload(&self, config: &str) -> Result<()> {
        let before = self.count_events("reloaded")?;
        self.places.write_config(config)?;
        self.daemon()?.process().signal(Signal::SIGHUP)?;
        within("the file is read again", EVENTUALLY, || {
            // On a machine that is slow enough it has no time to answer meanwhile.
            Ok(self.count_events("reloaded").is_ok_and(|n| n > before))
        })
        .with_context(|| {
            self.daemon
                .as_ref()
                .map(RouterDaemon::log_tail)
                .unwrap_or_default()
        })?;
        self.wait_for("settled after the reload", EVENTUALLY, |s| s.settled)?;
        Ok(())
    }

    /// What the kernel of the router holds: everything that the daemon looks at too.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn dump(&self) -> Result<Observed> {
        self.look(true)
    }

    /// As [`Self::dump`] without the nft table, which takes longer than the rest together.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn glance(&self) -> Result<Observed> {
        self.look(false)
    }

    fn look(&self, nft: bool) -> Result<Observed> {
        let state = self.places.state();
        let uplink_interfaces = self.lab.isps().map(Isp::interface).collect();
        self.in_router(|| {
            let mut kernel = Kernel::open()?.with_state_dir(Some(state));
            Ok(kernel.observe(&Look {
                reserve: vec![Reserve::default()],
                uplink_interfaces,
                nft,
                table_names: true,
                ..Look::default()
            })?)
        })
    }

    /// Changes the kernel of the router as somebody else would, who does not know the daemon.
    ///
    /// # Errors
    /// When the kernel refuses a step.
    pub fn execute(&self, steps: Vec<Step>) -> Result<()> {
        let mut plan = Plan::default();
        for step in steps {
            plan.push(step, "by the test");
        }
        self.in_router(|| {
            let outcomes = Kernel::open()?.execute(&plan);
            for (planned, outcome) in plan.steps.iter().zip(&outcomes) {
                ensure!(
                    matches!(outcome, Outcome::Done),
                    "{}: {outcome:?}",
                    planned.step
                );
            }
            Ok(())
        })
    }

    /// Runs something in the router's network, with the files that its programs see.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn in_router<T: Send>(&self, f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.lab.mounts().run(|| self.lab.router().run(f))
    }
}

/// The IPv4 side of an uplink in a status.
pub fn find_uplink(status: &Status, isp: Isp) -> Option<&UplinkStatus> {
    find_line(status, isp, Family::V4)
}

/// One family of an uplink in a status.
pub fn find_line(status: &Status, isp: Isp, family: Family) -> Option<&UplinkStatus> {
    let name = isp.to_string();
    let mut uplinks = status.uplinks.iter();
    uplinks.find(|u| u.name == name && u.family == family)
}

/// One of the project's programs.
fn program(name: &str) -> Result<std::path::PathBuf> {
    find_program(name).context("run `cargo build --workspace --bins` first")
}

fn outline(status: &Status) -> String {
    let uplinks = status.uplinks.iter().map(|u| {
        let service = if u.in_service { "in" } else { "out" };
        format!(
            "{} {} {:?} ({}), {service}",
            u.name, u.family, u.health, u.reason
        )
    });
    let uplinks: Vec<_> = uplinks.collect();
    format!(
        "{:?}, settled: {}, {}, problem: {:?}",
        status.state,
        status.settled,
        uplinks.join(", "),
        status.last_problem
    )
}

fn wait_for_answer<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(answer)
}
