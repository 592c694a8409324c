//! `uplinkctl drain`, `undrain`, `prefer`, `unprefer`, `probe`, `reload`, `confirm` and `rollback`.

use serde_json::json;
use uplinkd_api::{Client, ClientError, Operated};

use crate::{
    args::{DrainArgs, PreferArgs, ProbeArgs, Reasoned, ReloadArgs, UndrainArgs},
    exit::Exit,
    output, render,
    render::words::escape,
};

/// Lets an uplink run empty.
pub(crate) async fn drain(client: &Client, args: &DrainArgs) -> Exit {
    let (seconds, why) = (args.span.map(|s| s.as_secs()), args.reasoned.why.as_deref());
    let done = client.drain(&args.uplink, seconds, why).await;
    show(&done, &args.reasoned)
}

/// Ends that.
pub(crate) async fn undrain(client: &Client, args: &UndrainArgs) -> Exit {
    let why = args.reasoned.why.as_deref();
    show(&client.undrain(&args.uplink, why).await, &args.reasoned)
}

/// Lets new connections use one uplink.
pub(crate) async fn prefer(client: &Client, args: &PreferArgs) -> Exit {
    let (seconds, why) = (args.span.as_secs(), args.reasoned.why.as_deref());
    let done = client.prefer(&args.uplink, seconds, why).await;
    show(&done, &args.reasoned)
}

/// Ends that.
pub(crate) async fn unprefer(client: &Client, args: &Reasoned) -> Exit {
    show(&client.unprefer(args.why.as_deref()).await, args)
}

/// Asks all targets at once. Ends with 1 where too few of them answer.
pub(crate) async fn probe(client: &Client, args: &ProbeArgs) -> Exit {
    match client.probe(&args.uplink).await {
        Ok(probed) => {
            let _ = output::data(&match args.json {
                true => render::json::pretty(&probed),
                false => render::probed::text(&probed),
            });
            match probed.up {
                true => Exit::Yes,
                false => Exit::No,
            }
        }
        Err(error) => output::client_error(&error),
    }
}

/// Has the file read again. Its mistakes are shown as `uplinkd check` shows them.
pub(crate) async fn reload(client: &Client, args: &ReloadArgs) -> Exit {
    let (seconds, json) = (args.confirm.map(|s| s.as_secs()), args.reasoned.json);
    let done = client.reload(seconds, args.reasoned.why.as_deref()).await;
    if let Err(ClientError::Refused {
        status: 422,
        source,
    }) = &done
    {
        if json {
            let answer = json!({ "message": source.message, "problems": source.problems });
            let _ = output::data(&render::json::pretty(&answer));
        } else if let Some(report) = &source.report {
            let lines: Vec<_> = report.lines().map(escape).collect();
            output::lines(lines.join("\n").trim_end());
        }
        output::problem("the file is refused, and nothing has changed", None);
        if source.report.is_none() {
            output::note(&format!("  {}", source.message));
        }
        return Exit::Usage;
    }
    show(&done, &args.reasoned)
}

/// Says that what is on trial is good.
pub(crate) async fn confirm(client: &Client, args: &Reasoned) -> Exit {
    show(&client.confirm(args.why.as_deref()).await, args)
}

/// Has what was before put back.
pub(crate) async fn rollback(client: &Client, args: &Reasoned) -> Exit {
    show(&client.rollback(args.why.as_deref()).await, args)
}

fn show(done: &Result<Operated, ClientError>, args: &Reasoned) -> Exit {
    output::done(done, |done| &done.text, args.json)
}
