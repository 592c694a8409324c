//! `uplinkd`: the daemon, and the commands that need the network privileges.

use std::process::ExitCode;

use anstream::{eprintln, print, println};
use clap::Parser as _;
use uplinkd_daemon::{
    args::{Cli, Command},
    command::{check, clean, papers, plan, resolver, run},
    exit::Exit,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let paths = &cli.paths;
    let result = match cli.command {
        Command::Run => {
            start_log();
            run::run(paths)
        }
        Command::Check {
            file,
            file_only,
            json,
        } => check::run(
            &file.unwrap_or_else(|| paths.config.clone()),
            &paths.state_dir,
            file_only,
            json,
        ),
        Command::Plan { file, verbose } => plan::run(
            &file.unwrap_or_else(|| paths.config.clone()),
            &paths.state_dir,
            verbose,
        ),
        Command::Resolver { kind, file } => resolver::run(
            kind,
            &file.unwrap_or_else(|| paths.config.clone()),
            &paths.state_dir,
        ),
        Command::Clean => clean::run(paths),
        Command::Sample => {
            print!("{}", uplinkd_config::sample());
            Ok(Exit::Yes)
        }
        Command::Schema => {
            println!("{}", uplinkd_config::json_schema());
            Ok(Exit::Yes)
        }
        Command::Completions { shell } => Ok(papers::completions(shell)),
        Command::Manual { folder } => papers::manual(&folder),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::NotApplied.into()
        }
    }
}

/// Entries with fields of their own where systemd's journal takes them, plain lines on stderr elsewhere.
/// `UPLINKD_LOG` sets the level.
fn start_log() {
    use tracing_subscriber::{EnvFilter, fmt, prelude::*};
    let filter = EnvFilter::try_from_env("UPLINKD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let has_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let journal = has_journal.then(tracing_journald::layer);
    let journal = journal.and_then(|opened| opened.ok());
    let lines = journal.is_none().then(|| {
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false);
        // The journal adds times of its own.
        match has_journal {
            true => lines.without_time().boxed(),
            false => lines.boxed(),
        }
    });
    // `interface="wan1"` in a line is UPLINKD_INTERFACE=wan1 in an entry.
    let journal = journal.map(|j| j.with_field_prefix(Some("UPLINKD".to_owned())));
    tracing_subscriber::registry()
        .with(filter)
        .with(journal)
        .with(lines)
        .init();
}
