//! `uplinkd`: the daemon, and the commands that need the network privileges.

use std::process::ExitCode;

use anstream::{eprintln, print, println};
use clap::Parser as _;
use uplinkd_daemon::{
    args::{Cli, Command},
    command::{check, clean, plan, resolver, run},
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
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::NotApplied.into()
        }
    }
}

/// Plain lines on stderr, without times where systemd adds its own. `UPLINKD_LOG` sets the level.
fn start_log() {
    use tracing_subscriber::{EnvFilter, fmt, prelude::*};
    let filter = EnvFilter::try_from_env("UPLINKD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        tracing_subscriber::registry()
            .with(filter)
            .with(lines.without_time())
            .init();
    } else {
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .init();
    }
}
