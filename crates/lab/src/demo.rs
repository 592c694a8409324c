//! The demonstration: the real daemon, a real cut, and what it did to traffic.
//!
//! Every round is the same whether somebody watches or a script checks: shares, a cut under load,
//! the switch, the return, shares. Start with [`run`]; a round is in `round.rs`, the switches that
//! a person gets afterwards are in `prompt.rs`.

mod prompt;
mod round;
mod screen;
mod switches;
mod window;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use uplinkd_model::Family;

use crate::{
    addresses::Isp,
    faults::Fault,
    router::{Places, RouterDaemon, find_program, remove_when_interrupted},
    topology::{Lab, LabSpec},
    traffic::{PORT, Servers, Shares, Transport, shares},
};
use screen::Screen;
use switches::Switches;
pub use window::Outside;

/// How long the daemon may take until all uplinks serve.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long it may take to say good-bye.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How far a share may be from its weight, in percent of all connections: three times the deviation
/// that honest dice show over 1,000 connections.
const SHARE_TOLERANCE: f64 = 5.0;
/// Connections that are counted at a time, of each transport.
const COUNTED: usize = 1000;

/// What is wanted.
#[derive(Debug)]
pub struct Options {
    /// Check, and ask nothing.
    pub is_script: bool,
    /// How the first provider fails; empty for the usual.
    pub faults: Vec<Fault>,
    /// How many providers, 2 to 15.
    pub uplinks: usize,
    /// The daemon; `None` looks beside the own program.
    pub uplinkd: Option<PathBuf>,
    /// Its control program; `None` looks beside the own program.
    pub uplinkctl: Option<PathBuf>,
    /// Where the daemon's log is copied to at the end.
    pub log: Option<PathBuf>,
    /// Where a browser of this machine finds the dashboard; `None`: nowhere.
    pub outside: Option<Outside>,
}

/// Runs the demonstration. Returns whether everything was as expected.
///
/// # Errors
/// When it cannot be shown at all: no daemon, no namespaces, nobody reading.
pub fn run(mut options: Options) -> Result<bool> {
    let program = |given: &Option<PathBuf>, name: &str| match given {
        Some(path) => fs::canonicalize(path)
            .with_context(|| format!("there is no program {}", path.display())),
        None => find_program(name),
    };
    let (uplinkd, uplinkctl) = (
        program(&options.uplinkd, "uplinkd")?,
        program(&options.uplinkctl, "uplinkctl")?,
    );
    let interrupts = remove_when_interrupted()?;
    let mut screen = Screen::default();
    let start = Instant::now();
    let lab = Lab::build(LabSpec {
        uplinks: options.uplinks,
        ..LabSpec::default()
    })?;
    interrupts.watch(lab.folder());
    introduce(&mut screen, &lab, start.elapsed())?;
    let places = Places::new(&lab)?;
    let mut config = config(&lab);
    let mut link = None;
    if let Some(outside) = &options.outside {
        let (api, told) = outside.settle(&lab.folder().join("tokens"))?;
        config.push_str(&api);
        link = Some(told);
    }
    places.write_config(&config)?;
    let _servers = Servers::start(lab.internet(), PORT)?;
    let switches = Switches::new(&lab);
    let demo = Demo {
        lab: &lab,
        daemon: RouterDaemon::start(&lab, &places, &uplinkd, &["run"], &[])?,
        places: &places,
        uplinkctl,
        switches: &switches,
        link,
    };
    let result = match options.outside.take() {
        None => demo.play(&options, &mut screen),
        Some(outside) => switches.in_view(outside, || demo.play(&options, &mut screen)),
    };
    if let Some(path) = &options.log {
        let copied = fs::copy(places.log(), path);
        copied.with_context(|| format!("cannot write {}", path.display()))?;
    }
    result
}

/// A demonstration in progress.
struct Demo<'a, 'l> {
    lab: &'a Lab,
    daemon: RouterDaemon,
    places: &'a Places,
    uplinkctl: PathBuf,
    /// What the person at the prompt, or before the page, broke.
    switches: &'a Switches<'l>,
    /// Where the page is.
    link: Option<String>,
}

impl Demo<'_, '_> {
    fn play(self, options: &Options, screen: &mut Screen) -> Result<bool> {
        self.wait_ready(screen)?;
        self.show_link(screen)?;
        self.show_status(screen)?;
        let faults = match (options.faults.as_slice(), options.is_script) {
            ([], true) => vec![Fault::Carrier, Fault::Silent, Fault::Upstream],
            ([], false) => vec![Fault::Carrier],
            (given, _) => given.to_vec(),
        };
        for fault in faults {
            round::play(&self, fault, screen)?;
        }
        if !options.is_script {
            self.show_link(screen)?;
            prompt::ask(&self, screen)?;
        }
        self.switches.heal(None)?;
        self.good_bye(screen)?;
        screen.verdict()
    }

    fn wait_ready(&self, screen: &mut Screen) -> Result<()> {
        let start = Instant::now();
        let all = self.all();
        self.daemon
            .wait_until("every uplink serves", READY_MAX, || self.serves(&all, 40))?;
        let took = start.elapsed().as_millis();
        screen.line(&format!(
            "uplinkd routes; every uplink serves after {took} ms."
        ))
    }

    fn show_link(&self, screen: &mut Screen) -> Result<()> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        screen.line(&format!("\nIn a browser, with switches:\n  {link}\n"))
    }

    /// Whether new connections fail nowhere and use all of these lines.
    fn serves(&self, isps: &[Isp], count: usize) -> bool {
        self.count(Transport::Udp, count)
            .is_ok_and(|s| s.failed == 0 && isps.iter().all(|i| s.of(*i) > 0))
    }

    fn count(&self, transport: Transport, count: usize) -> Result<Shares> {
        let servers = self.lab.servers(Family::V4);
        shares(self.lab.client(), transport, &servers, count)
    }

    fn all(&self) -> Vec<Isp> {
        self.lab.isps().collect()
    }

    /// Counts new connections, shows them as bars and, when all lines should serve, checks them
    /// against the weights.
    fn show_shares(&self, screen: &mut Screen, is_checked: bool) -> Result<()> {
        let total: u32 = self.lab.isps().map(weight).sum();
        let mut both = Shares::default();
        for transport in [Transport::Udp, Transport::Tcp] {
            let counted = self.count(transport, COUNTED)?;
            for (isp, count) in &counted.over {
                *both.over.entry(*isp).or_default() += count;
            }
            both.elsewhere += counted.elsewhere;
            both.failed += counted.failed;
        }
        screen.line(&format!(
            "{COUNTED} new UDP and {COUNTED} new TCP connections from the LAN:"
        ))?;
        for isp in self.lab.isps() {
            let label = format!("{isp} (weight {} of {total})", weight(isp));
            screen.bar(&label, both.percent(isp), both.of(isp))?;
        }
        if both.failed > 0 {
            screen.bar("no answer", 0.0, both.failed)?;
        }
        if is_checked {
            let far: Vec<_> = self
                .lab
                .isps()
                .filter(|i| {
                    let wanted = 100.0 * f64::from(weight(*i)) / f64::from(total);
                    (both.percent(*i) - wanted).abs() > SHARE_TOLERANCE
                })
                .collect();
            let is_right = far.is_empty() && both.failed == 0 && both.elsewhere == 0;
            screen.check(is_right, "shared out by weight, none failed")?;
        }
        Ok(())
    }

    fn show_status(&self, screen: &mut Screen) -> Result<()> {
        let output = self.places.tool(self.lab, &self.uplinkctl, &["status"])?;
        screen.quote("$ uplinkctl status")?;
        screen.quote_all(&output.stdout)?;
        screen.quote_all(&output.stderr)
    }

    fn good_bye(&self, screen: &mut Screen) -> Result<()> {
        let stopped = self.daemon.stop(STOP_MAX);
        match &stopped {
            Ok(status) if status.success() => screen.check(true, "the daemon stopped when asked"),
            Ok(status) => {
                screen.check(false, &format!("the daemon stopped when asked: {status}"))?;
                screen.quote_all(&self.daemon.log_tail())
            }
            Err(e) => screen.check(false, &format!("the daemon stopped when asked: {e}")),
        }
    }
}

/// The weight that the demonstration gives to a line.
fn weight(isp: Isp) -> u32 {
    match isp.number() {
        1 => 3,
        2 => 2,
        _ => 1,
    }
}

fn config(lab: &Lab) -> String {
    let mut text = "lan = [\"lan0\"]\n\n\
         [probe]\n\
         interval = \"100ms\"\n\
         timeout = \"100ms\"\n\
         fall = 3\n\
         rise = 5\n\
         damping = \"off\"\n\
         targets = [\"gateway\", \"icmp:198.18.0.1\", \"icmp:198.18.0.2\"]\n"
        .to_owned();
    for isp in lab.isps() {
        text.push_str(&format!(
            "\n[uplink.{isp}]\ninterface = \"{}\"\nweight = {}\n",
            isp.interface(),
            weight(isp)
        ));
    }
    text
}

fn introduce(screen: &mut Screen, lab: &Lab, took: Duration) -> Result<()> {
    screen.line(&format!(
        "A network of {} namespaces, built in {} ms, that touches nothing outside:",
        lab.isps().count() + 3,
        took.as_millis()
    ))?;
    screen.line("")?;
    screen.quote("client ---- router ---- isp1 (weight 3) ---- internet")?;
    screen.quote("               `--------- isp2 (weight 2) ------'")?;
    for isp in lab.isps().skip(2) {
        let line = format!("               `--------- {isp} (weight 1) ------'");
        screen.quote(&line)?;
    }
    screen.line("")
}
