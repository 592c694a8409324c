//! `uplinkctl report --bug`: one readable file with what a maintainer needs.
//!
//! Text, so that whoever sends it can read what leaves the machine. Every part goes through
//! [`hide_secrets`], whatever wrote it; the configuration comes from the daemon, which shows values of
//! known kinds only.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::SystemTime,
};

use uplinkd_api::{Client, ClientError};
use uplinkd_config::{LEFT_OUT, hide_secrets};

use crate::{
    args::ReportArgs,
    exit::Exit,
    output,
    render::{anonymous::Anonymizer, json::pretty, words::is_unsafe},
};

/// Lines of the journal that are taken, the newest.
const JOURNAL_LINES: &str = "1000";
/// Bytes of it at most.
const JOURNAL_MAX: usize = 512 * 1024;

const ABOUT: &str = "\
A report for the maintainers of uplinkd. Secrets were left out by rule: of the configuration only values
that cannot be one are shown, of addresses of pages only the host, of commands only the program. Read it
before you send it.
Parts begin with a line of five equals signs and a name. Cut samples.csv out for `uplinkctl replay`.
";

/// Gathers all that can be had, and writes it.
pub(super) async fn run(client: &Client, args: &ReportArgs) -> Exit {
    let (parts, problems) = gather(client).await;
    for problem in &problems {
        output::note(&format!("note: {problem}"));
    }
    let text = report(&parts, args.anonymize);
    let path = match &args.output {
        Some(path) if path == Path::new("-") => {
            let _ = output::data(&text);
            return Exit::Yes;
        }
        Some(path) => path.clone(),
        None => default_path(),
    };
    match write(&path, &text) {
        Ok(()) => {
            let _ = output::data(&format!("{}\n", path.display()));
            output::note(
                "Read it before you send it: what is no secret by rule may be one for you.",
            );
            Exit::Yes
        }
        Err(error) => {
            output::problem(&format!("cannot write {}: {error}", path.display()), None);
            Exit::Usage
        }
    }
}

type Part = (String, String);

/// The parts in order, and what could not be had.
async fn gather(client: &Client) -> (Vec<Part>, Vec<String>) {
    let mut parts = vec![(
        "uplinkctl.txt".to_owned(),
        format!("uplinkctl {}\n", env!("CARGO_PKG_VERSION")),
    )];
    let mut problems = Vec::new();
    let mut add = |name: &str, text: Result<String, ClientError>| {
        let text = text.unwrap_or_else(|error| {
            let why = output::chain(&error);
            let hint = error.hint().map(|h| format!(" ({h})")).unwrap_or_default();
            problems.push(format!("{name} is missing: {why}{hint}"));
            format!("(not to be had: {why})\n")
        });
        parts.push((name.to_owned(), text));
    };
    let status = client.status().await;
    let commands: Vec<String> = status
        .iter()
        .flat_map(|s| &s.uplinks)
        .flat_map(|u| &u.targets)
        .map(|t| t.target.clone())
        .filter(|t| t.starts_with("command "))
        .collect();
    add("status.json", status.map(|s| pretty(&s)));
    let support = client.support().await.map(|s| s.texts);
    // The samples are the longest by far, and come last.
    let (samples, texts): (BTreeMap<_, _>, BTreeMap<_, _>) = match support {
        Ok(texts) => texts
            .into_iter()
            .partition(|(name, _)| name == "samples.csv"),
        Err(error) => {
            add("what the daemon sees", Err(error));
            Default::default()
        }
    };
    for (name, text) in texts {
        add(&name, Ok(text));
    }
    add("events.json", client.events(None).await.map(|e| pretty(&e)));
    add("policies.json", client.policies().await.map(|p| pretty(&p)));
    add("metrics.txt", client.metrics().await);
    add("journal.txt", Ok(journal()));
    for (name, text) in samples {
        add(&name, Ok(text));
    }
    for (_, text) in &mut parts {
        // As they stand in the status, before rules that have to guess where one ends.
        for command in &commands {
            let program = command.split(' ').take(2).collect::<Vec<_>>().join(" ");
            *text = text.replace(command.as_str(), &format!("{program} {LEFT_OUT}"));
        }
    }
    (parts, problems)
}

/// One text of all parts.
fn report(parts: &[Part], anonymize: bool) -> String {
    let mut anonymizer = Anonymizer::default();
    let mut out = ABOUT.to_owned();
    for (name, text) in parts {
        let safe = hide_secrets(text);
        let safe = match anonymize {
            true => anonymizer.apply(&safe),
            false => safe,
        };
        // Whoever reads it does so on a terminal.
        let safe: String = safe
            .chars()
            .filter(|c| matches!(c, '\n' | '\t') || !is_unsafe(*c))
            .collect();
        let _ = write!(out, "\n===== {name}\n{safe}");
        if !safe.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

/// The newest lines that the daemon has written to the journal, where there is one and it may be read.
fn journal() -> String {
    let said = Command::new("journalctl")
        .args(["--unit", "uplinkd", "--lines", JOURNAL_LINES])
        .args(["--no-pager", "--output", "short-iso"])
        .output();
    let text = match said {
        Ok(said) => {
            let (text, why) = (said.stdout, said.stderr);
            format!(
                "{}{}",
                String::from_utf8_lossy(&text),
                String::from_utf8_lossy(&why)
            )
        }
        Err(error) => format!("(no journal: {error})\n"),
    };
    let mut from = text.len().saturating_sub(JOURNAL_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

fn default_path() -> PathBuf {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let now: String = now.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    PathBuf::from(format!("uplinkd-bug-{now}.txt"))
}

/// Nobody else may read it, and nothing is overwritten.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
