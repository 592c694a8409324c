//! Programs of a folder.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use uplinkd_lab::{Fault, programs, stretched};
use uplinkd_netns_tests::{isp, within};

use crate::common::{Folder, LONG, rig, runs, says, start, wait_text};

/// Leaves word of the event, and of what it may do.
const RECORD: &str = "cat >>$out/events\n\
                      echo \"$UPLINKD_KIND $UPLINKD_UPLINK $UPLINKD_TO $PWD\" >>$out/words\n\
                      env >$out/env\n\
                      cat /proc/self/status >$out/status.$$ && mv $out/status.$$ $out/status";

fn table(folder: &Folder, more: &str) -> String {
    let dir = &folder.hooks;
    format!("[notify.hooks]\ndir = {dir:?}\nevents = [\"all\"]\n{more}\n")
}

pub(crate) fn each_event_reaches_a_hook_that_has_no_rights() -> Result<()> {
    let (mut rig, folder) = rig(|_, folder| {
        folder.put("10-record", 0o755, RECORD)?;
        Ok(table(folder, ""))
    })?;
    start(&mut rig)?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    wait_text("the end of a line", "health isp1 down /", || {
        folder.left("words")
    })?;
    broken.heal()?;
    wait_text("its return", "health isp1 up /", || folder.left("words"))?;
    rig.wait_settled()?;

    // The very events of the log, all of them and in their order.
    let log: Vec<_> = rig.events()?.events.into_iter().map(|e| e.id).collect();
    within("all are told", LONG, || {
        Ok(folder.events("events").len() >= log.len())
    })?;
    let told: Vec<_> = folder.events("events");
    let ids: Vec<_> = told.iter().filter_map(|e| e["id"].as_u64()).collect();
    ensure!(ids.starts_with(&log), "{ids:?} instead of {log:?}");
    ensure!(told[0]["kind"] == "started", "{}", told[0]);

    let status = folder.left("status");
    let field = |name: &str| -> Result<String> {
        let line = status.lines().find_map(|l| l.strip_prefix(name));
        Ok(line.context("no such field")?.trim().to_owned())
    };
    ensure!(field("NoNewPrivs:")? == "1", "{status}");
    // The root of a namespace of its own has nobody else to become.
    if programs::may_change_users() {
        let user = field("Uid:")?;
        ensure!(user == "65534\t65534\t65534\t65534", "{status}");
        ensure!(field("Groups:")?.is_empty(), "{status}");
        for rights in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            ensure!(field(rights)? == "0000000000000000", "{status}");
        }
    }
    let environment = folder.left("env");
    let ours = |line: &&str| {
        !["UPLINKD_", "PATH=", "PWD=", "SHLVL=", "_="]
            .iter()
            .any(|p| line.starts_with(p))
    };
    let others: Vec<_> = environment.lines().filter(ours).collect();
    ensure!(others.is_empty(), "{others:?}");
    rig.stop_daemon()?;
    wait_text("the stop", "stopping", || folder.left("words"))
}

pub(crate) fn one_that_hangs_delays_nobody_and_is_killed() -> Result<()> {
    let limit = stretched(Duration::from_secs(2));
    let (mut rig, folder) = rig(|_, folder| {
        let hang = "echo $$ >>$out/pids\nsleep 1000 & echo $! >>$out/pids\nsleep 1000";
        folder.put("10-hangs", 0o755, hang)?;
        folder.put("20-record", 0o755, RECORD)?;
        Ok(table(folder, &format!("timeout = \"{limit:?}\"")))
    })?;
    start(&mut rig)?;
    within("it hangs", LONG, || {
        Ok(folder.left("pids").lines().count() >= 2)
    })?;
    // While it does, and its queue fills, lines fail over as ever.
    for _ in 0..2 {
        let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
        rig.wait_out(isp(1))?;
        broken.heal()?;
        rig.wait_settled()?;
        let broken = Fault::Carrier.apply(rig.lab(), isp(2))?;
        rig.wait_out(isp(2))?;
        broken.heal()?;
        rig.wait_settled()?;
    }
    let first = folder.left("pids");
    let first: Vec<_> = first.lines().take(2).collect();
    within("it is killed with what it began", LONG, || {
        Ok(first.iter().all(|pid| !runs(pid)))
    })?;
    // Later events still arrive, at the next hook too.
    wait_text("the first event", "started", || folder.left("words"))?;
    within("another one", LONG, || {
        Ok(folder.left("words").lines().count() >= 2)
    })?;
    let log = rig.daemon_log();
    ensure!(
        log.contains(&format!(
            "10-hangs: still running after {limit:?}, and ended"
        )),
        "{log}"
    );
    rig.stop_daemon()?;
    let pids = folder.left("pids");
    within("nothing is left behind", LONG, || {
        Ok(pids.lines().all(|pid| !runs(pid)))
    })
}

pub(crate) fn what_others_could_have_written_is_not_run() -> Result<()> {
    let (mut rig, folder) = rig(|_, folder| {
        folder.put("10-open", 0o777, "echo ran >>$out/open")?;
        folder.put("20-record", 0o755, RECORD)?;
        Ok(table(folder, ""))
    })?;
    let doubts = rig.tool("uplinkd", &["check"])?;
    let doubts = format!("{}{}", doubts.stdout, doubts.stderr);
    let refused = "others may write it (mode 0777)";
    ensure!(
        doubts.contains(&format!("hook 10-open is not run: {refused}")),
        "{doubts}"
    );
    start(&mut rig)?;
    wait_text("the others are", "started", || folder.left("words"))?;
    ensure!(folder.left("open").is_empty(), "it ran");
    wait_text("the reason", refused, || rig.daemon_log())?;
    let said = says(&rig, "notify-test", 1)?;
    ensure!(
        said.contains("hooks/10-open ") && said.contains(refused),
        "{said}"
    );
    ensure!(said.contains("hooks/20-record  told in"), "{said}");
    folder.put("10-open", 0o755, "echo ran >>$out/open")?;
    says(&rig, "notify-test", 0)?;
    ensure!(!folder.left("open").is_empty(), "it did not run");
    fs::remove_dir_all(&folder.hooks)?;
    let said = says(&rig, "notify-test", 1)?;
    ensure!(said.contains("no such file or directory"), "{said}");
    Ok(())
}

pub(crate) fn home_assistant_is_told_by_the_example() -> Result<()> {
    let (mut rig, folder) = rig(|_, folder| {
        // In place of the one that needs a broker; beside the folder, so that it is no hook.
        let client = folder.put("publish", 0o755, "{ cat; echo \"$@\"; } >>$out/mqtt")?;
        let client = client.display();
        let example = include_str!("../../../../contrib/hooks/10-homeassistant");
        let script = format!("MOSQUITTO_PUB={client}\n{example}");
        let hooks = folder.hooks.join("d");
        fs::create_dir(&hooks)?;
        folder.put("d/10-homeassistant", 0o755, &script)?;
        Ok(format!(
            "[notify.hooks]\ndir = {hooks:?}\nevents = [\"all\"]\n"
        ))
    })?;
    start(&mut rig)?;
    let _broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    wait_text("the line is off", "isp1/ipv4 -m OFF", || {
        folder.left("mqtt")
    })?;
    let said = folder.left("mqtt");
    for words in [
        "\"kind\":\"started\"",
        "-r -t homeassistant/binary_sensor/uplinkd_",
        "\"device_class\": \"connectivity\"",
        "isp2/ipv6 -m ON",
    ] {
        ensure!(said.contains(words), "{words}\n{said}");
    }
    says(&rig, "notify-test", 0)?;
    Ok(())
}
