//! What the daemon records, and what comes of it when it is replayed.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uplinkd_api::TargetState;
use uplinkd_lab::{Fault, LabSpec, stretched, traffic::PORT};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, servers, within};

const RECORD: &str = "[record]\nsamples = true\n";

/// States in order, of each line.
type Course = Vec<(String, String, Vec<String>)>;

pub(crate) fn a_recorded_failover_is_replayed_as_it_happened() -> Result<()> {
    let text = config(&[3, 2]) + RECORD;
    let mut rig = Rig::start(&text)?;
    for fault in [Fault::Silent, Fault::Carrier] {
        let broken = fault.apply(rig.lab(), isp(1))?;
        rig.wait_out(isp(1))?;
        // So long that hindsight knows it for a death, at any pace of asking.
        std::thread::sleep(stretched(std::time::Duration::from_secs(2)));
        drop(broken);
        rig.wait_settled()?;
        std::thread::sleep(stretched(std::time::Duration::from_secs(1)));
    }
    rig.stop_daemon()?;
    let replayed = replay(&rig, &[])?;
    let recorded = courses(&replayed["recorded"], |told| {
        let text = told["text"].as_str().unwrap_or_default();
        let state = text.split([' ', ':']).next().unwrap_or_default();
        state.to_owned()
    });
    ensure!(
        recorded.iter().any(|(uplink, _, states)| {
            uplink == "isp1" && *states == ["up", "down", "up", "down", "up"]
        }),
        "recorded: {recorded:?}"
    );
    let mut played = Course::new();
    for line in list(&replayed["replays"][0]["lines"]) {
        let states = list(&line["changes"]).iter().map(|c| word(&c["to"]));
        played.push((
            word(&line["uplink"]),
            word(&line["family"]),
            states.collect(),
        ));
    }
    ensure!(
        sorted(played.clone()) == sorted(recorded.clone()),
        "it happened: {recorded:?}\nreplayed: {played:?}"
    );
    for line in list(&replayed["replays"][0]["lines"]) {
        let failovers = if line["uplink"] == "isp1" { 2 } else { 0 };
        ensure!(line["failovers"] == failovers, "{line}");
        ensure!(line["needless"] == 0 && line["missed"] == 0, "{line}");
    }
    // Another file on the same history: one that never asks in time.
    let other = rig.places().state().join("other.toml");
    let slow = text.replace("fall = 3", "fall = 50\nburst = \"1s\"\nhold = \"0s\"");
    fs::write(&other, slow)?;
    let both = replay(&rig, &["--with", &other.display().to_string()])?;
    ensure!(list(&both["replays"]).len() == 2, "{both}");
    Ok(())
}

/// What is more than an echo is recorded with the time of its answer, like an echo.
pub(crate) fn answers_of_services_are_recorded() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), "")?;
    let target = format!("tcp:{}:{PORT}", servers(rig.lab())[0]);
    let before = "targets = [\"gateway\", ";
    let text = config(&[3, 2]).replace(before, &format!("{before}\"{target}\", "));
    rig.places().write_config(&(text + RECORD))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    rig.wait_for("the target answers", EVENTUALLY, |s| {
        let targets = s.uplinks.iter().flat_map(|u| &u.targets);
        targets
            .filter(|t| t.target == target)
            .any(|t| t.state == TargetState::Pass)
    })?;
    rig.stop_daemon()?;
    let mut times = Vec::new();
    for file in files(&rig) {
        for row in fs::read_to_string(file)?.lines() {
            let fields: Vec<_> = row.split(',').collect();
            if fields.get(2) == Some(&target.as_str()) {
                times.extend(fields.get(3).map(|rtt| rtt.parse::<f64>()));
            }
        }
    }
    ensure!(times.iter().any(Result::is_ok), "all are lost: {times:?}");
    Ok(())
}

pub(crate) fn recording_begins_and_ends_with_a_reload() -> Result<()> {
    let mut rig = Rig::start(&config(&[1, 1]))?;
    ensure!(files(&rig).is_empty(), "recorded without being told to");
    rig.reload(&(config(&[1, 1]) + RECORD))?;
    std::thread::sleep(stretched(std::time::Duration::from_secs(1)));
    rig.reload(&config(&[1, 1]))?;
    within("the recording is complete", EVENTUALLY, || {
        let ends =
            |path: &PathBuf| Ok::<_, anyhow::Error>(fs::read_to_string(path)?.ends_with("stop\n"));
        Ok(files(&rig).iter().any(|path| ends(path).unwrap_or(false)))
    })?;
    rig.stop_daemon()?;
    let text = fs::read_to_string(&files(&rig)[0])?;
    for part in [",start\n", "isp2,icmp:198.18.0.1,", ",gateway,", ",6\n"] {
        ensure!(text.contains(part), "no {part:?} in {text}");
    }
    Ok(())
}

pub(crate) fn a_disk_that_takes_nothing_does_not_stop_the_router() -> Result<()> {
    let mut rig = Rig::without_daemon(Default::default(), &(config(&[1, 1]) + RECORD))?;
    fs::create_dir_all(rig.places().state())?;
    // Where the folder should be.
    fs::write(rig.places().state().join("record"), "")?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let _broken = Fault::Silent.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    // Written at the latest when it stops; the router was not held up before.
    let daemon = rig.daemon()?;
    within("the log says so", EVENTUALLY * 2, || {
        Ok(daemon.log().contains("samples are not recorded"))
    })
}

/// What `uplinkctl replay --json` says of what was recorded.
fn replay(rig: &Rig, more: &[&str]) -> Result<Value> {
    let folder = rig.places().state().join("record").display().to_string();
    let arguments = [&["replay", folder.as_str(), "--json"], more].concat();
    let output = rig.tool("uplinkctl", &arguments)?;
    serde_json::from_str(&output.stdout)
        .with_context(|| format!("{}\n{}", output.stdout, output.stderr))
}

fn courses(told: &Value, state: impl Fn(&Value) -> String) -> Course {
    let mut courses = Course::new();
    for told in list(told) {
        let (uplink, family) = (word(&told["uplink"]), word(&told["family"]));
        let own = courses
            .iter_mut()
            .find(|c| (&c.0, &c.1) == (&uplink, &family));
        match own {
            Some((_, _, states)) => states.push(state(told)),
            None => courses.push((uplink, family, vec![state(told)])),
        }
    }
    courses
}

fn sorted(mut courses: Course) -> Course {
    courses.sort();
    courses
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn files(rig: &Rig) -> Vec<PathBuf> {
    let folder = fs::read_dir(rig.places().state().join("record"));
    let entries = folder.into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|e| e.path()).collect();
    files.sort();
    files
}
