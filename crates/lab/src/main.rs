//! `uplink-lab`: see a multi-uplink router work, and fail, without a router and without root.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use uplinkd_lab::{
    Fault, Isp, Lab, LabSpec, Netns,
    demo::{self, Outside},
    enter_private,
    router::remove_when_interrupted,
};

/// A network laboratory on this machine: a LAN, a router, internet providers and an internet, made
/// of network namespaces. Needs no root. Nothing outside is touched, nothing is left behind.
#[derive(Debug, Parser)]
#[command(
    name = "uplink-lab",
    version,
    after_long_help = "\
THE NETWORK
  client ---- lan0 router wan1 ---- isp1 ---- internet
  10.0.0.2             wan2 ---- isp2 ---'    198.18.0.1 to .50, 1.1.1.1,
                       ...                    8.8.8.8, 9.9.9.9
  line N is 100.64.N.0/24: the router has .2, the provider .1

EXAMPLES
  uplink-lab demo                      two providers, 3:2; then a prompt to break them
  uplink-lab demo --script             the same without questions; exit code 0 or 1
  uplink-lab demo --script --fault silent --fault upstream
  uplink-lab run -- ip route           one command inside the router of a fresh network
  uplink-lab run --in client -- bash   a shell inside the LAN host (nothing routes yet)

EXIT CODES
  0  everything was as expected   1  something was not   2  usage"
)]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Run the real daemon in a network and watch it while a provider fails and comes back; here, or in a
    /// browser of this machine by the link that it prints.
    Demo(DemoArgs),
    /// Build a network without a daemon and run one command in it.
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Ask nothing: run through, check every expectation, exit with 0 or 1.
    #[arg(long)]
    script: bool,
    /// How the first provider fails; may be given several times. One of: carrier (cable out),
    /// silent (far end mute), upstream (dead beyond the gateway), oneway-out, oneway-in, address,
    /// interface, loss:PERCENT, flap:MILLISECONDS, slow:KILOBITS.
    /// [default: carrier; with --script: carrier, silent, upstream]
    #[arg(long = "fault", value_name = "FAULT", verbatim_doc_comment)]
    faults: Vec<Fault>,
    /// How many providers, 2 to 15. The first has weight 3, the second 2, further ones 1.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=15))]
    uplinks: u8,
    /// The daemon. [default: beside this program]
    #[arg(long, value_name = "PATH")]
    uplinkd: Option<PathBuf>,
    /// Its control program. [default: beside this program]
    #[arg(long, value_name = "PATH")]
    uplinkctl: Option<PathBuf>,
    /// Copy the daemon's log to this file at the end.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// How many providers, 1 to 15.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=15))]
    uplinks: u8,
    /// Where: client, router, internet, or a provider such as isp1.
    #[arg(long = "in", value_name = "PLACE", default_value = "router")]
    place: String,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outside = match &cli.command {
        // A script has no browser. Without a port there is everything but the page.
        Sub::Demo(arguments) if !arguments.script => Outside::open().ok(),
        Sub::Demo(_) | Sub::Run(_) => None,
    };
    let result = enter_private().and_then(|()| match cli.command {
        Sub::Demo(arguments) => run_demo(arguments, outside),
        Sub::Run(arguments) => run_command(arguments),
    });
    result.unwrap_or_else(|e| {
        let _ = writeln!(io::stderr(), "uplink-lab: {e:#}");
        ExitCode::FAILURE
    })
}

fn run_demo(arguments: DemoArgs, outside: Option<Outside>) -> Result<ExitCode> {
    let is_good = demo::run(demo::Options {
        is_script: arguments.script,
        faults: arguments.faults,
        uplinks: arguments.uplinks.into(),
        uplinkd: arguments.uplinkd,
        uplinkctl: arguments.uplinkctl,
        log: arguments.log,
        outside,
    })?;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_command(arguments: RunArgs) -> Result<ExitCode> {
    let interrupts = remove_when_interrupted()?;
    let lab = Lab::build(LabSpec {
        uplinks: arguments.uplinks.into(),
        ..LabSpec::default()
    })?;
    interrupts.watch(lab.folder());
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(rest);
    let process = place(&lab, &arguments.place)?.spawn(command)?;
    let status = process.wait_for_ever();
    let code = status.and_then(|s| s.code()).unwrap_or(1);
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn place<'a>(lab: &'a Lab, name: &str) -> Result<&'a Netns> {
    match name {
        "client" => Ok(lab.client()),
        "router" => Ok(lab.router()),
        "internet" => Ok(lab.internet()),
        other => {
            let isp: Isp = other.parse().map_err(anyhow::Error::msg)?;
            ensure!(lab.isps().any(|i| i == isp), "there is no {isp} here");
            Ok(lab.isp(isp))
        }
    }
}
