//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Routes over several internet uplinks: shares new connections out by weight, keeps each connection
/// on its uplink, and moves traffic away from an uplink that fails within milliseconds of knowing.
#[derive(Debug, Parser)]
#[command(
    name = "uplinkd",
    version,
    after_long_help = "\
THE FILE
  lan = [\"br-lan\"]          # whose traffic is shared out; left out: everybody's

  [uplink.isp1]             # the name is also the name of its routing table
  interface = \"eth1\"
  weight = 3                # 3 of 5 new connections

  [uplink.isp2]
  interface = \"eth2\"
  weight = 2

  `uplinkd sample` prints it with every option explained.

EXAMPLES
  uplinkd check             what is wrong with the file, then with this machine
  uplinkd plan              what `run` would change now, as `ip` and `nft` lines
  uplinkd run               route, until stopped; stopping leaves routing in place
  uplinkd resolver dnsmasq  the lines that policies by domain need there
  uplinkd clean             remove everything of ours, restore the sysctls

EXIT CODES
  0  yes   1  no   2  usage or mistakes in the file   4  could not apply, or may not run here

`uplinkctl status` shows what a running daemon does. To see it work without a router and
without root: `uplink-lab demo`."
)]
pub struct Cli {
    /// Where things are.
    #[command(flatten)]
    pub paths: Paths,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the file, the memory and the socket are. Several daemons may run on one machine, one for
/// each network namespace, with paths of their own.
#[derive(Clone, Debug, Args)]
pub struct Paths {
    /// The file that says what is wanted.
    #[arg(
        long,
        global = true,
        env = "UPLINKD_CONFIG",
        default_value = "/etc/uplinkd/uplinkd.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// Kept across restarts: the uplinks' numbers, and what `clean` has to restore.
    #[arg(
        long,
        global = true,
        env = "UPLINKD_STATE_DIR",
        default_value = "/var/lib/uplinkd",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
    /// Holds the socket that `uplinkctl` talks to, and the lock.
    #[arg(
        long,
        global = true,
        env = "UPLINKD_RUNTIME_DIR",
        default_value = "/run/uplinkd",
        value_name = "DIR"
    )]
    pub runtime_dir: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Route until stopped. SIGHUP reads the file again. Stopping leaves routing in place.
    Run,
    /// Say what is wrong with the file, then what on this machine would stand in the way.
    Check {
        /// Another file than `--config`.
        file: Option<PathBuf>,
        /// Look at the file alone, not at the machine.
        #[arg(long)]
        file_only: bool,
        /// For scripts: one JSON object with all findings.
        #[arg(long)]
        json: bool,
    },
    /// Print what `run` would change now, as `ip` and `nft` lines. Changes nothing.
    Plan {
        /// Another file than `--config`.
        file: Option<PathBuf>,
        /// Print long sets and maps whole.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Print what the resolver of the LAN has to be told, so that policies with `domain` work.
    ///
    /// For dnsmasq: `uplinkd resolver dnsmasq > /etc/dnsmasq.d/uplinkd.conf`, and restart it. Again
    /// after each change of these policies. dnsmasq then puts every address that it finds for one of
    /// the names into a set of ours. Needs dnsmasq 2.87 or newer, built with nftset. unbound cannot
    /// do the like: let it forward to a dnsmasq, or the other way round.
    Resolver {
        /// Which resolver.
        kind: Resolver,
        /// Another file than `--config`.
        file: Option<PathBuf>,
    },
    /// Remove everything that is ours, nothing else, whatever state it was left in.
    Clean,
    /// Print the file with every option explained.
    Sample,
    /// Print the JSON Schema of the file, for editors.
    Schema,
    /// Print what a shell needs to complete these commands.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Write the manual's pages into a folder, for packages.
    #[command(hide = true)]
    Manual {
        /// Where to.
        folder: PathBuf,
    },
}

/// Resolvers that can fill nft sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resolver {
    /// dnsmasq.
    Dnsmasq,
}
