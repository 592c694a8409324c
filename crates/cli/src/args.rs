//! The command line.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, Parser, Subcommand};
use uplinkd_api::{ExplainQuery, Protocol};

const ABOUT_LONG: &str = "\
Asks a running uplinkd how the internet is, what happened, and where traffic goes.

Needs no privileges and changes nothing. The daemon is found by its runtime directory: where \
`uplinkd run` was given another --runtime-dir than /run/uplinkd, give the same one here, or set \
UPLINKD_RUNTIME_DIR for both.";

const HELP_AFTER: &str = "\
Examples:
  uplinkctl status                      is the internet up, and through what?
  uplinkctl status || echo offline      the same as a question in a script
  uplinkctl events --follow             what changes, as it happens
  uplinkctl explain --to 1.1.1.1 --if-down isp1
                                        where would it go if isp1 failed?

Exit codes: 0 yes, 1 no (the internet is down, the destination cannot be
reached), 2 usage, 3 the daemon cannot be reached.
Colour is used on terminals only, and not where NO_COLOR is set.";

/// Asks a running uplinkd: status, events, explanations
#[derive(Debug, Parser)]
#[command(name = "uplinkctl", version, long_about = ABOUT_LONG, after_help = HELP_AFTER)]
#[command(max_term_width = 80)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the daemon lives. The same options as the daemon's own.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Where the daemon is")]
pub(crate) struct Place {
    /// The daemon's runtime directory, which holds its socket
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/run/uplinkd"
    )]
    #[arg(env = "UPLINKD_RUNTIME_DIR", hide_env_values = true)]
    pub(crate) runtime_dir: PathBuf,
    /// The daemon's state directory; taken for the sake of symmetry, not used yet
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/uplinkd"
    )]
    #[arg(
        env = "UPLINKD_STATE_DIR",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) state_dir: PathBuf,
    /// The daemon's file; taken for the sake of symmetry, not used yet
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(default_value = "/etc/uplinkd/uplinkd.toml")]
    #[arg(env = "UPLINKD_CONFIG", hide_env_values = true, hide_short_help = true)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is the internet up, through what, since when, and why
    ///
    /// First the answer in a sentence, then each uplink: its health, its share of new connections
    /// by weight, its part of present connections as measured, round-trip time and loss of its
    /// targets, and the reason. Then each group with the uplinks that serve it.
    ///
    /// Ends with 0 while there is internet or it is not known yet, with 1 while there is none.
    Status(StatusArgs),
    /// What changed, when and why
    ///
    /// The daemon remembers the last 1,000 events. Each line has the id that --since takes, the
    /// time (UTC), `warn` where a person may need to look, and what happened.
    Events(EventsArgs),
    /// Which rule, group and uplink a connection would use, and why
    ///
    /// Shows the routing rules in the order in which the kernel asks them, which of them decides,
    /// and what the kernel itself answers. With --if-down the same for a failure that has not
    /// happened.
    ///
    /// Ends with 1 where the connection would go nowhere.
    #[command(after_help = EXPLAIN_AFTER)]
    Explain(ExplainArgs),
}

const EXPLAIN_AFTER: &str = "\
Examples:
  uplinkctl explain --to 1.1.1.1
      the router's own traffic
  uplinkctl explain --from 192.168.1.20 --iif br-lan --to 1.1.1.1 --dport 443
      a connection from the LAN
  uplinkctl explain --to 1.1.1.1 --if-down isp1 --if-down isp2
      when two uplinks have failed";

#[derive(Debug, ClapArgs)]
pub(crate) struct StatusArgs {
    /// Print JSON, for scripts; with --watch one line each time
    #[arg(long)]
    pub(crate) json: bool,
    /// Look again every second, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EventsArgs {
    /// Go on with what happens from now on, until interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print JSON, for scripts; with --follow one event a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Only what happened after the event with this id
    #[arg(long, value_name = "ID")]
    pub(crate) since: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ExplainArgs {
    /// Where to
    #[arg(long, value_name = "ADDRESS")]
    to: IpAddr,
    /// Where from; without it, the router itself
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// The transport: tcp, udp or icmp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,
    /// The destination port
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// The source port
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// The interface that the connection comes in by
    #[arg(long, value_name = "INTERFACE")]
    iif: Option<String>,
    /// Take this uplink to be down; may be given again
    #[arg(long, value_name = "UPLINK")]
    if_down: Vec<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

impl ExplainArgs {
    pub(crate) fn query(&self) -> ExplainQuery {
        ExplainQuery {
            from: self.from,
            to: self.to,
            protocol: self.protocol,
            sport: self.sport,
            dport: self.dport,
            iif: self.iif.clone(),
            mark: None,
            if_down: self.if_down.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_are_taken_after_the_command_too() {
        let args =
            Args::try_parse_from(["uplinkctl", "status", "--runtime-dir", "/tmp/x"]).unwrap();
        assert_eq!(args.place.runtime_dir, PathBuf::from("/tmp/x"));
    }

    #[test]
    fn several_uplinks_can_be_down() {
        let line = "uplinkctl explain --to 1.1.1.1 --if-down a --if-down b --protocol udp";
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let Command::Explain(explain) = args.command else {
            panic!("another command");
        };
        assert_eq!(explain.query().if_down, ["a", "b"]);
        assert_eq!(explain.query().protocol, Some(Protocol::Udp));
    }

    #[test]
    fn help_fits_eighty_columns() {
        let mut command = Args::command();
        let mut names = vec![None];
        names.extend(
            command
                .get_subcommands()
                .map(|c| Some(c.get_name().to_owned())),
        );
        for name in names {
            let chosen = match &name {
                Some(name) => command.find_subcommand_mut(name).unwrap(),
                None => &mut command,
            };
            for line in chosen.render_long_help().to_string().lines() {
                assert!(line.chars().count() <= 80, "{name:?}: {line}");
            }
        }
    }
}
