//! The command line.

mod operate;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;
use uplinkd_api::{ConnectionQuery, ExplainQuery, IcmpType, MacAddress, Protocol, parse_dscp};

pub(crate) use operate::{
    DrainArgs, NotifyTestArgs, PreferArgs, ProbeArgs, Reasoned, ReloadArgs, UndrainArgs,
};

use crate::accounts;

const ABOUT_LONG: &str = "\
Asks a running uplinkd how the internet is, what happened, and where traffic goes, and tells it what \
to do.

Asking needs no privileges. What changes something (drain, prefer, probe, reload, failback, budget \
and their ends) is for root and the daemon's own user. The daemon is found by its runtime directory: where \
`uplinkd run` was given another --runtime-dir than /run/uplinkd, give the same one here, or set \
UPLINKD_RUNTIME_DIR for both.";

const HELP_AFTER: &str = "\
Examples:
  uplinkctl status                      is the internet up, and through what?
  uplinkctl status || echo offline      the same as a question in a script
  uplinkctl top                         the same on a whole screen, live
  uplinkctl events --follow             what changes, as it happens
  uplinkctl policies                    which policies there are, in order
  uplinkctl explain --to 1.1.1.1 --if-down isp1
                                        where would it go if isp1 failed?
  uplinkctl failback calls              back to the better line, now
  uplinkctl drain isp1 --for 2h --why 'new modem'
                                        nothing new by isp1, for a while
  uplinkctl prefer isp2 for 2h          everything new by isp2, for a while
  uplinkctl probe isp1 && echo works    ask all its targets, now
  uplinkctl reload --confirm 60s        a new file, and back if that was wrong
  uplinkctl history isp1 --since 6h     how was it, over time?
  uplinkctl report --month 2026-11      outages, loss, traffic: the sheet for a provider
  uplinkctl report --bug                what went wrong, as a file for its makers
  uplinkctl replay /var/lib/uplinkd/record --with other.toml
                                        what would other numbers have done?

Exit codes: 0 yes, 1 no (the internet is down, the destination cannot be
reached, there is nothing to do, a tried file errs), 2 usage or file, 3 the daemon cannot be reached,
4 not allowed.
Colour is used on terminals only, and not where NO_COLOR is set.";

/// Asks a running uplinkd, and tells it what to do
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
    /// The daemon's file, which only `replay` reads
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
    /// The uplinks on a whole screen, as it happens
    ///
    /// Health, round-trip times and loss with their last minutes, traffic, connections and events. Keys
    /// drain and undrain an uplink, after a question, and ask its targets; `?` lists them. Waits for a
    /// daemon that is away. Needs a terminal: elsewhere there is `status --watch`.
    Top,
    /// What changed, when and why
    ///
    /// The daemon remembers the last 1,000 events. Each line has the id that --since takes, the
    /// time (UTC), `warn` where a person may need to look, and what happened.
    Events(EventsArgs),
    /// Which policy, group and uplink a connection uses, and why
    ///
    /// For a connection that does not exist yet: the policies in the order in which they are asked
    /// and why each does or does not take it, then the routing rules, the decision, and what the
    /// kernel itself answers. Everything that a policy can look at can be said; where something
    /// that was left out decides, the answer says so. With --if-down the same for a failure that
    /// has not happened.
    ///
    /// With --connection for one that exists, as conntrack has it: where its next packet goes, and
    /// where it would go if it began now.
    ///
    /// Ends with 1 where the connection would go nowhere or is refused, and where there is no such
    /// connection.
    #[command(after_help = EXPLAIN_AFTER)]
    Explain(Box<ExplainArgs>),
    /// The policies in the order in which they are asked
    ///
    /// What each of them matches and where it leads, whether its schedule holds now, and which of
    /// them can never be reached since others before them take everything.
    Policies(PoliciesArgs),
    /// Correct what an uplink has used of its budget
    ///
    /// To the provider's own number. `uplinkctl status` shows what counts. Only root, the daemon's own
    /// user and the file's `api.change_group` may.
    Budget(BudgetArgs),
    /// Let a group return to its better uplinks now
    ///
    /// For groups with `failback = "by-hand"`, and for those that wait for a time. Only root,
    /// the daemon's own user and the file's `api.change_group` may. Ends with 1 where nothing waits.
    Failback(FailbackArgs),
    /// Let an uplink run empty: no new connections by it
    ///
    /// What it carries stays until it ends; new connections use other uplinks, in every group and for
    /// both families. A policy that has nothing else does what its `otherwise` says. Where no other
    /// uplink works a drained one serves all the same. Survives restarts; ends by itself after --for.
    Drain(DrainArgs),
    /// Let a drained uplink take new connections again
    ///
    /// It comes back to each group as after a failure, by the group's `failback`. Ends with 1 where
    /// the uplink is not drained.
    Undrain(UndrainArgs),
    /// Let all new connections use one uplink, for a while
    ///
    /// In every group that has it, before all its tiers, while it is up and not drained. What others
    /// carry stays there. Survives restarts; ends by itself.
    Prefer(PreferArgs),
    /// End what `prefer` began
    ///
    /// Ends with 1 where no uplink is preferred.
    Unprefer(Reasoned),
    /// Ask all targets of an uplink, now
    ///
    /// Shows the round-trip time of each, or what is wrong, and whether enough of them answered. The
    /// answers count like all others.
    ///
    /// Ends with 0 where enough answered in each family that the uplink has, else with 1.
    Probe(ProbeArgs),
    /// Tell everybody who is told of events that this is a test
    ///
    /// Waits for each channel of `[notify]`, or for that of --channel, and shows what came of it; each hook
    /// has a line of its own.
    ///
    /// Ends with 0 where all were told, with 1 where one was not or there is nobody to tell.
    NotifyTest(NotifyTestArgs),
    /// Read the file again
    ///
    /// Mistakes are shown as `uplinkd check` shows them, and change nothing (exit code 2).
    ///
    /// With --confirm the configuration of before comes back by itself unless `uplinkctl confirm`
    /// follows in time: also where the daemon has died or was stopped meanwhile. The file itself is never
    /// written.
    Reload(ReloadArgs),
    /// Keep what `reload --confirm` has put in force
    ///
    /// Ends with 1 where nothing waits to be confirmed.
    Confirm(Reasoned),
    /// Put back at once what was in force before `reload --confirm`
    ///
    /// Ends with 1 where nothing waits to be confirmed.
    Rollback(Reasoned),
    /// Loss, round-trip times, traffic and health of an uplink over time
    ///
    /// Seconds for a day, minutes for a month, hours for two years. Loss and round-trip times are those of
    /// the targets that count; --csv and --json have each of them. Times are UTC.
    #[command(after_help = HISTORY_AFTER)]
    History(HistoryArgs),
    /// How the uplinks were over a month: the sheet for a provider
    ///
    /// Availability, each outage with its length and its cause, loss and percentiles of round-trip times,
    /// traffic and budget. Time without a daemon counts neither as up nor as down. Months are those of the
    /// router's local time.
    ///
    /// With --bug a readable file for a report of a mistake of uplinkd itself: versions, configuration,
    /// status, events, figures, what the kernel holds and what is different, the newest samples, and the
    /// journal, without secrets. All of it is there for root and whoever may change something.
    Report(ReportArgs),
    /// Try a file on recorded history: when would it have failed over?
    ///
    /// Plays recordings of `[record]`, or other programs' traces, through the daemon's own
    /// judgement, in virtual time, with the file of --config and beside it with that of --with.
    /// Says how often each would have failed over, which of these were needless, which failures
    /// it would have missed, and how long traffic would have gone into a dead line. Asks no
    /// daemon and touches no network.
    ///
    /// Ends with 1 where the file under trial would have failed over needlessly or missed a
    /// failure, with 2 where a file or the history cannot be used.
    #[command(after_help = REPLAY_AFTER)]
    Replay(ReplayArgs),
    /// Print what a shell needs to complete these commands
    ///
    /// For bash: `uplinkctl completions bash` into
    /// /usr/share/bash-completion/completions/uplinkctl.
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual's pages into a folder, for packages
    #[command(hide = true)]
    Manual {
        /// Where to
        folder: PathBuf,
    },
}

const HISTORY_AFTER: &str = "\
Examples:
  uplinkctl history isp1                the last day
  uplinkctl history isp1 --since 90m --step 1m
  uplinkctl history --since 30d --csv > uplinks.csv
                                        all uplinks, for a spreadsheet";

#[derive(Debug, ClapArgs)]
pub(crate) struct HistoryArgs {
    /// The uplink; all of them without
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: Option<String>,
    /// From so long ago on: 90m, 24h, 30d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) since: Duration,
    /// Until so long ago
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) until: Duration,
    /// The length of a step, ten seconds or more; such that it fits without
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) step: Option<Duration>,
    /// Print JSON, for scripts
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print comma-separated values, for spreadsheets
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ReportArgs {
    /// The month, as 2026-11; the present one without
    #[arg(long, value_name = "MONTH", num_args = 0..=1)]
    pub(crate) month: Option<Option<String>>,
    /// Print JSON, for scripts
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print comma-separated values, for spreadsheets
    #[arg(long)]
    pub(crate) csv: bool,
    /// Instead, write what a maintainer needs to find a mistake of uplinkd into a file
    #[arg(long, conflicts_with_all = ["month", "json", "csv"])]
    pub(crate) bug: bool,
    /// With other addresses in place of public ones and of hardware, the same for the same
    #[arg(long, requires = "bug")]
    pub(crate) anonymize: bool,
    /// The file to write, which must not exist; `-` prints it
    #[arg(long, value_name = "FILE", requires = "bug")]
    pub(crate) output: Option<PathBuf>,
}

const REPLAY_AFTER: &str = "\
The history is CSV with a header or without:

  time,uplink,target,rtt_ms
  1764345601.25,isp1,icmp:1.1.1.1,12.3
  2025-11-28T16:00:02Z,isp1,icmp:1.1.1.1,timeout

Lost answers are empty, -, timeout or U. Lines are in order of time.

Examples:
  uplinkctl replay /var/lib/uplinkd/record --with other.toml
      the file in force and another one, on all that was recorded
  uplinkctl replay smokeping.csv --config try.toml --json
      somebody else's trace, for scripts";

#[derive(Debug, ClapArgs)]
pub(crate) struct ReplayArgs {
    /// The history: files in order of time, or a folder of recordings
    #[arg(value_name = "FILE", required = true)]
    pub(crate) history: Vec<PathBuf>,
    /// Another file to try, beside the one of --config
    #[arg(long, value_name = "FILE")]
    pub(crate) with: Option<PathBuf>,
    /// List all switches, however many
    #[arg(long)]
    pub(crate) all: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

const EXPLAIN_AFTER: &str = "\
Examples:
  uplinkctl explain --to 1.1.1.1
      the router's own traffic
  uplinkctl explain --from 192.168.1.20 --iif br-lan --to 1.1.1.1 \\
      --protocol tcp --dport 443
      a connection from the LAN
  uplinkctl explain --to 1.1.1.1 --uid backup --cgroup \\
      system.slice/backup.service
      one of the router's own programs
  uplinkctl explain --to 1.1.1.1 --if-down isp1 --if-down isp2
      when two uplinks have failed
  uplinkctl explain --connection 'tcp 192.168.1.20:40000 1.1.1.1:443'
      one that exists";

#[derive(Debug, ClapArgs)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub(crate) struct BudgetArgs {
    /// The uplink
    #[arg(value_name = "UPLINK")]
    pub(crate) uplink: String,
    /// So much was used in this period: 12GB, 800MB
    #[arg(long, value_name = "BYTES", group = "what", value_parser = bytes)]
    pub(crate) set: Option<u64>,
    /// Nothing was used in this period
    #[arg(long, group = "what")]
    pub(crate) reset: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = uplinkd_model::budget::bytes_of(text);
    bytes.ok_or_else(|| "write bytes with a unit: 12GB, 800MB".to_owned())
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PoliciesArgs {
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FailbackArgs {
    /// The group, as `uplinkctl status` names it
    #[arg(value_name = "GROUP")]
    pub(crate) group: String,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

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
    #[arg(long, value_name = "ADDRESS", required_unless_present = "connection")]
    to: Option<IpAddr>,
    /// Where from; without it, the router itself
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// The protocol: tcp, udp, icmp, gre, … or a number
    #[arg(long)]
    protocol: Option<Protocol>,
    /// The destination port
    #[arg(long, value_name = "PORT")]
    dport: Option<u16>,
    /// The source port
    #[arg(long, value_name = "PORT")]
    sport: Option<u16>,
    /// The ICMP type: a number, echo-request or echo-reply
    #[arg(long, value_name = "TYPE")]
    icmp: Option<IcmpType>,
    /// The interface that the connection comes in by
    #[arg(long, value_name = "INTERFACE")]
    iif: Option<String>,
    /// The Ethernet source address
    #[arg(long)]
    mac: Option<MacAddress>,
    /// The differentiated services code point: a number, ef, cs1, af41, …
    #[arg(long, value_parser = parse_dscp)]
    dscp: Option<u8>,
    /// The mark that somebody else gave its packets, decimal or 0x…
    #[arg(long, value_parser = parse_mark)]
    mark: Option<u32>,
    /// The user of the router's own traffic, by name or number
    #[arg(long, value_name = "USER", value_parser = accounts::user)]
    uid: Option<u32>,
    /// Its group, by name or number
    #[arg(long, value_name = "GROUP", value_parser = accounts::group)]
    gid: Option<u32>,
    /// Its control group, such as system.slice/backup.service
    #[arg(long, value_name = "PATH")]
    cgroup: Option<String>,
    /// Take the destination for an address of this name; may be given again. Without it the sets
    /// that a resolver fills are asked
    #[arg(long, value_name = "NAME")]
    domain: Vec<String>,
    /// Explain this existing connection: `[PROTOCOL] FROM[:PORT] TO[:PORT]`
    #[arg(long, value_name = "CONNECTION")]
    #[arg(conflicts_with_all = ["to", "from", "protocol", "dport", "sport", "icmp", "iif", "mac",
        "dscp", "mark", "uid", "gid", "cgroup", "domain"])]
    connection: Option<ConnectionQuery>,
    /// Take this uplink to be down; may be given again
    #[arg(long, value_name = "UPLINK")]
    if_down: Vec<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Where a new connection would go.
    New(ExplainQuery),
    /// Where an existing one goes.
    Existing(ConnectionQuery),
}

impl ExplainArgs {
    /// What is asked; none where there is no destination, which the command line excludes.
    pub(crate) fn question(&self) -> Option<Question> {
        if let Some(connection) = &self.connection {
            return Some(Question::Existing(ConnectionQuery {
                if_down: self.if_down.clone(),
                ..connection.clone()
            }));
        }
        Some(Question::New(ExplainQuery {
            from: self.from,
            to: self.to?,
            protocol: self.protocol,
            sport: self.sport,
            dport: self.dport,
            icmp: self.icmp,
            iif: self.iif.clone(),
            mac: self.mac,
            dscp: self.dscp,
            mark: self.mark,
            uid: self.uid,
            gid: self.gid,
            cgroup: self.cgroup.clone(),
            domains: self.domain.iter().cloned().collect(),
            if_down: self.if_down.clone(),
        }))
    }
}

fn parse_mark(word: &str) -> Result<u32, String> {
    match word.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => word.parse(),
    }
    .map_err(|error| error.to_string())
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

    fn question(line: &str) -> Option<Question> {
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let Command::Explain(explain) = args.command else {
            return None;
        };
        explain.question()
    }

    #[test]
    fn a_preference_is_said_as_one_says_it() {
        let of = |line: &str| Args::try_parse_from(line.split(' ')).map(|a| a.command);
        let Ok(Command::Prefer(args)) = of("uplinkctl prefer isp2 for 2h --why test") else {
            panic!("not understood");
        };
        assert_eq!((args.uplink.as_str(), args.span.as_secs()), ("isp2", 7200));
        for bad in ["isp2", "isp2 for", "isp2 2h", "isp2 for 2", "isp2 until 2h"] {
            assert!(of(&format!("uplinkctl prefer {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_budget_is_set_or_reset_and_not_both() {
        let of = |line: &str| {
            let args = Args::try_parse_from(line.split(' '));
            args.map(|a| {
                let Command::Budget(budget) = a.command else {
                    panic!("another command");
                };
                (budget.set, budget.reset)
            })
        };
        let set = of("uplinkctl budget lte --set 1.5GB").unwrap();
        assert_eq!(set, (Some(1_500_000_000), false));
        assert_eq!(of("uplinkctl budget lte --reset").unwrap(), (None, true));
        for bad in ["", " --set 5", " --set 5GB --reset"] {
            assert!(of(&format!("uplinkctl budget lte{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_that_a_policy_looks_at_can_be_said() {
        let line = "uplinkctl explain --from 10.0.0.1 --to 1.1.1.1 --protocol udp --sport 1 \
                    --dport 2 --iif br0 --mac aa:bb:cc:dd:ee:ff --dscp ef --mark 0x10 \
                    --domain zoom.us --if-down a --if-down b";
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some(Question::New(query)) = question(&line) else {
            panic!("another question");
        };
        assert_eq!(query.if_down, ["a", "b"]);
        assert_eq!(query.protocol, Some(Protocol::UDP));
        assert_eq!((query.dscp, query.mark), (Some(46), Some(16)));
        let own = "uplinkctl explain --to ::1 --icmp echo-request --uid 0 --gid 7 --cgroup a/b";
        let Some(Question::New(query)) = question(own) else {
            panic!("another question");
        };
        assert_eq!((query.uid, query.gid), (Some(0), Some(7)));
        assert_eq!(query.icmp, Some(IcmpType::EchoRequest));
    }

    #[test]
    fn a_connection_is_one_word_and_excludes_the_rest() {
        let explain = |more: &[&str]| {
            let start = [
                "uplinkctl",
                "explain",
                "--connection",
                "tcp 10.0.0.1:1 1.1.1.1:2",
            ];
            Args::try_parse_from(start.iter().chain(more))
        };
        assert!(explain(&["--if-down", "isp1"]).is_ok());
        assert!(explain(&["--to", "1.1.1.1"]).is_err());
        assert!(Args::try_parse_from(["uplinkctl", "explain"]).is_err());
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
