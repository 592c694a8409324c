//! Who gets in, as users of a machine see it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use uplinkd_lab::{
    harness::Skipped,
    programs::{find, may_change_users},
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, within};

use crate::request::{
    LISTEN, TOKEN, ask_tcp, config_with, config_with_tcp, rig_with_tokens, write_tokens,
};

/// Nobody on any machine, in groups of nobody.
const USER: u32 = 41_234;
const READERS: u32 = 41_235;
const CHANGERS: u32 = 41_236;

pub(crate) fn groups_of_the_process_decide_over_the_socket() -> Result<()> {
    if !may_change_users() {
        return Err(Skipped(
            "there is one user only, in a namespace of an ordinary one".to_owned(),
        )
        .into());
    }
    let readers = format!("[api]\nread_group = \"{READERS}\"\n");
    let rig = Rig::start(&config_with(&format!(
        "{readers}change_group = \"{CHANGERS}\"\n"
    )))?;
    // Two groups: everybody gets as far as being refused.
    ensure_socket(&rig, 0o666, None)?;
    let (read, change) = ("GET /v1/policies", "POST /v1/uplinks/isp2/budget/5");
    for (groups, may_read, may_change) in [
        ("", 403, 403),
        ("41237", 403, 403),
        ("41237,41235", 200, 403),
        ("41236,41237", 200, 200),
    ] {
        ensure_answer(&rig, groups, read, may_read)?;
        ensure_answer(&rig, groups, change, may_change)?;
        ensure_answer(&rig, groups, "GET /v1/support", may_change)?;
    }
    // One group: the socket is its own, and others do not even get a connection.
    rig.reload(&config_with(&readers))?;
    ensure_socket(&rig, 0o660, Some(READERS))?;
    ensure_answer(&rig, "41237,41235", read, 200)?;
    ensure_answer(&rig, "41237,41235", change, 403)?;
    let refused = knock(&rig, "41236", read)?;
    ensure!(refused.contains("Permission denied"), "{refused}");
    // None: as delivered.
    rig.reload(&config_with(""))?;
    ensure_socket(&rig, 0o666, None)?;
    ensure_answer(&rig, "", read, 200)?;
    ensure_answer(&rig, "41236", change, 403)?;
    // Ourselves, all the while.
    rig.status()?;
    Ok(())
}

pub(crate) fn a_reload_opens_and_closes_tcp_at_once() -> Result<()> {
    let mut rig = rig_with_tokens(&config_with(""))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure!(
        ask_tcp(&rig, "/v1/status", TOKEN).is_err(),
        "open before it is said"
    );
    rig.reload(&config_with_tcp())?;
    let ok = "HTTP/1.1 200 OK";
    ensure_line(&rig, TOKEN, ok)?;
    ensure_line(
        &rig,
        "the-token-of-somebody-else-altogether",
        "HTTP/1.1 401 Unauthorized",
    )?;

    // Other tokens, by a reload of the same text.
    let other = "another-token-for-the-same-router-1";
    write_tokens(&rig, other, 0o600)?;
    rig.reload(&config_with_tcp())?;
    ensure_line(&rig, other, ok)?;
    ensure_line(&rig, TOKEN, "HTTP/1.1 401 Unauthorized")?;

    // Tokens that others can read are refused, and nothing changes.
    write_tokens(&rig, TOKEN, 0o644)?;
    rig.daemon()?.process().signal(Signal::SIGHUP)?;
    within("it is refused", EVENTUALLY, || {
        Ok(rig.count_events("reload-refused")? == 1)
    })?;
    ensure_line(&rig, other, ok)?;
    let events = rig.events()?;
    let refusal = events.events.iter().find(|e| e.kind == "reload-refused");
    let text = &refusal.context("it is told")?.text;
    ensure!(
        text.contains("tokens") && text.contains("(mode 0644)") && text.contains("chmod 600"),
        "{text}"
    );
    for told in [TOKEN, other] {
        ensure!(!rig.daemon_log().contains(told), "a token is in the log");
    }

    rig.reload(&config_with(""))?;
    ensure!(ask_tcp(&rig, "/v1/status", other).is_err(), "still open");
    rig.status()?;
    Ok(())
}

pub(crate) fn a_daemon_does_not_start_with_tokens_that_others_can_read() -> Result<()> {
    let mut rig = rig_with_tokens(&config_with_tcp())?;
    let folder = rig.places().config();
    ensure!(folder.is_file());
    write_tokens(&rig, TOKEN, 0o604)?;
    let check = rig.tool("uplinkd", &["check"])?;
    ensure!(!check.status.success(), "{check:?}");
    let run = rig.tool("uplinkd", &["run"])?;
    for output in [&check, &run] {
        ensure!(!output.status.success(), "{output:?}");
        let text = format!("{}{}", output.stdout, output.stderr);
        ensure!(
            text.contains("(mode 0604)") && text.contains("chmod 600"),
            "{text}"
        );
        ensure!(!text.contains(TOKEN), "a token is told");
    }
    ensure!(run.stderr.contains("nothing was changed"), "{run:?}");
    write_tokens(&rig, TOKEN, 0o640)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure_line(&rig, TOKEN, "HTTP/1.1 200 OK")
}

fn ensure_line(rig: &Rig, token: &str, expected: &str) -> Result<()> {
    let line = ask_tcp(rig, "/v1/status", token)?;
    ensure!(line == expected, "{line}, not {expected}, at {LISTEN}");
    Ok(())
}

fn ensure_socket(rig: &Rig, mode: u32, group: Option<u32>) -> Result<()> {
    let found = fs::metadata(rig.places().runtime().join("uplinkd.sock"))?;
    ensure!(
        found.mode() & 0o777 == mode,
        "mode {:o}, not {mode:o}",
        found.mode()
    );
    ensure!(
        group.is_none_or(|g| found.gid() == g),
        "group {}",
        found.gid()
    );
    Ok(())
}

fn ensure_answer(rig: &Rig, groups: &str, request: &str, status: u32) -> Result<()> {
    let answer = knock(rig, groups, request)?;
    ensure!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{request} with groups {groups:?}, not {status}: {answer}"
    );
    Ok(())
}

/// What an ordinary user in these groups is answered over the socket, or why there is no connection.
fn knock(rig: &Rig, groups: &str, request: &str) -> Result<String> {
    // The laboratory's folders are closed to others, which the machine's own are not.
    for folder in rig.places().runtime().ancestors().take(2) {
        fs::set_permissions(folder, Permissions::from_mode(0o711))?;
    }
    let socket = rig.places().runtime().join("uplinkd.sock");
    let mut command = Command::new(find("setpriv")?);
    command
        .arg(format!("--reuid={USER}"))
        .arg(format!("--regid={USER}"));
    match groups {
        "" => command.arg("--clear-groups"),
        groups => command.arg(format!("--groups={groups}")),
    };
    command
        .arg(find("socat")?)
        .args(["-t", "5", "-"])
        // Whoever has said all stays on the line for the answer.
        .arg(format!("UNIX-CONNECT:{},shut-none", socket.display()));
    let request = format!("{request} HTTP/1.1\r\nHost: uplinkd\r\n\r\n");
    let output = rig
        .lab()
        .router()
        .output(command, &request, Duration::from_secs(10))?;
    match output.stdout.is_empty() {
        true => Ok(output.stderr),
        false => Ok(output.stdout),
    }
}
