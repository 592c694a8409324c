//! The commands.

mod budget;
mod bug;
mod events;
mod explain;
mod failback;
mod history;
mod notify;
mod operate;
mod papers;
mod policies;
mod replay;
mod report;
mod status;

use uplinkd_api::{Client, socket_path};

use crate::{
    args::{Args, Command},
    exit::Exit,
    top,
};

/// Does what the command line says.
pub(crate) async fn run(args: Args) -> Exit {
    let client = Client::new(socket_path(&args.place.runtime_dir));
    let config = args.place.config;
    match args.command {
        Command::Status(args) => status::run(&client, &args).await,
        Command::Top => top::run(client).await,
        Command::Events(args) => events::run(&client, &args).await,
        Command::Explain(args) => explain::run(&client, &args).await,
        Command::Policies(args) => policies::run(&client, &args).await,
        Command::Budget(args) => budget::run(&client, &args).await,
        Command::Failback(args) => failback::run(&client, &args).await,
        Command::Drain(args) => operate::drain(&client, &args).await,
        Command::Undrain(args) => operate::undrain(&client, &args).await,
        Command::Prefer(args) => operate::prefer(&client, &args).await,
        Command::Unprefer(args) => operate::unprefer(&client, &args).await,
        Command::Probe(args) => operate::probe(&client, &args).await,
        Command::NotifyTest(args) => notify::test(&client, &args).await,
        Command::Reload(args) => operate::reload(&client, &args).await,
        Command::Confirm(args) => operate::confirm(&client, &args).await,
        Command::Rollback(args) => operate::rollback(&client, &args).await,
        Command::History(args) => history::run(&client, &args).await,
        Command::Report(args) => report::run(&client, &args).await,
        Command::Completions { shell } => papers::completions(shell),
        Command::Manual { folder } => papers::manual(&folder),
        Command::Replay(args) => replay::run(&args, &config),
    }
}
