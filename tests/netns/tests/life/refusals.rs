//! Issue 2, bad input: a clear error that names the thing and the remedy, the documented exit code,
//! and nothing changed.

use std::fs;

use anyhow::{Context, Result, bail};
use uplinkd_lab::LabSpec;
use uplinkd_model::{Family, Mark, Nexthop, NexthopId, NexthopKind, Proto, Rule, Step, TableId};
use uplinkd_netns_tests::{Rig, config};

use crate::{
    common::{ensure_said, refused_run, says},
    machine::Machine,
};

/// A laboratory that no daemon has ever run in, and what it is like.
pub(crate) fn fresh(text: &str) -> Result<(Rig, Machine)> {
    let rig = Rig::without_daemon(LabSpec::default(), text)?;
    let before = Machine::read(&rig)?;
    Ok((rig, before))
}

/// `run` refuses with this code and these words.
pub(crate) fn ensure_run_refused(rig: &Rig, code: i32, words: &[&str]) -> Result<()> {
    ensure_said("uplinkd run", &refused_run(rig, &["run"])?, code, words)
}

pub(crate) fn mistakes_in_the_file() -> Result<()> {
    let (rig, before) = fresh(&config(&[3, 2]))?;
    let good = config(&[3, 2]);
    let cases: [(&str, String, &[&str]); 9] = [
        (
            "unknown key",
            good.replace("weight = 3", "wieght = 3"),
            &[
                "unknown key",
                "wieght",
                "did you mean `weight`?",
                "uplinkd.toml:4:1",
            ],
        ),
        (
            "weight 0",
            good.replace("weight = 3", "weight = 0"),
            &[
                "the weight of",
                "isp1",
                "1 to 256",
                "uplinkd.toml:4:10",
                "hint: to take an uplink out of use",
            ],
        ),
        (
            "weight 257",
            good.replace("weight = 3", "weight = 257"),
            &["the weight of", "isp1", "1 to 256", "only the ratio counts"],
        ),
        (
            "two uplinks on one interface",
            good.replace("wan2", "wan1"),
            &["wan1", "isp1", "isp2", "uplinkd.toml:6:13"],
        ),
        (
            "a name that `ip` would not accept",
            good.replace("uplink.isp1", "uplink.main"),
            &["cannot be named `main`", "such as `isp1`"],
        ),
        (
            "mark mask with a gap",
            good.clone() + "[reserve]\nmark_mask = \"0xf0f00000\"\n",
            &["mark_mask", "do not stand side by side", "\"0xff000000\""],
        ),
        ("no uplinks", "lan = [\"lan0\"]\n".to_owned(), &["uplink"]),
        ("no TOML", "[uplink.isp1\n".to_owned(), &["uplinkd.toml:1:"]),
        (
            "all at once",
            good.replace("weight = 3", "weight = 0")
                .replace("interval = \"100ms\"", "interval = \"1ms\"")
                .replace("uplink.isp2", "uplink.local"),
            &[
                "the weight of",
                "the interval of",
                "cannot be named `local`",
            ],
        ),
    ];
    for (what, text, words) in cases {
        rig.places().write_config(&text)?;
        for command in ["check", "plan", "run"] {
            let output = refused_run(&rig, &[command]).with_context(|| what.to_owned())?;
            ensure_said(command, &output, 2, words).with_context(|| what.to_owned())?;
        }
        Machine::read(&rig)?
            .ensure_is(&before)
            .with_context(|| what.to_owned())?;
    }
    Ok(())
}

pub(crate) fn a_file_that_cannot_be_read() -> Result<()> {
    let (rig, before) = fresh(&config(&[3, 2]))?;
    let hint = "`uplinkd sample` prints one to start from";
    for command in ["check", "plan", "run"] {
        let output = refused_run(&rig, &[command, "--config", "/nowhere/at/all.toml"])?;
        ensure_said(
            command,
            &output,
            2,
            &["cannot read /nowhere/at/all.toml", hint],
        )?;
        let output = refused_run(&rig, &[command, "--config", "/"])?;
        ensure_said(command, &output, 2, &["cannot read /: "])?;
    }
    fs::write(rig.places().config(), [0xff, 0xfe, 0])?;
    ensure_run_refused(&rig, 2, &["cannot read", "uplinkd.toml"])?;
    // Wrong words on the command line.
    says(&rig, &["rnu"], 2, &["rnu", "Usage"])?;
    says(&rig, &["run", "--intervall", "1s"], 2, &["--intervall"])?;
    Machine::read(&rig)?.ensure_is(&before)
}

pub(crate) fn a_missing_interface_and_a_gateway_off_link() -> Result<()> {
    let missing = config(&[3, 2]).replace("wan2", "wan9");
    let (rig, before) = fresh(&missing)?;
    says(
        &rig,
        &["check"],
        1,
        &[
            "there is no interface wan9",
            "uplinkd.toml:6:13",
            "there are: ",
            "wan1",
        ],
    )?;
    let off_link = config(&[3, 2]) + "[uplink.isp1.ipv4]\ngateway = \"192.0.2.1\"\n";
    rig.places().write_config(&off_link)?;
    says(
        &rig,
        &["check"],
        1,
        &[
            "gateway 192.0.2.1 is not in a network of wan1",
            "wan1 has 100.64.1.2/24",
            "uplinkd.toml:17:11",
        ],
    )?;
    let no_lan = config(&[3, 2]).replace("lan0", "lan7");
    rig.places().write_config(&no_lan)?;
    says(&rig, &["check"], 1, &["there is no interface lan7"])?;
    Machine::read(&rig)?.ensure_is(&before)
}

pub(crate) fn marks_that_somebody_else_uses() -> Result<()> {
    let (rig, _) = fresh(&config(&[3, 2]))?;
    let theirs = |mask| Rule {
        mark: Some(Mark::new(0x0100_0000, mask)),
        ..Rule::lookup(Family::V4, 5000, TableId(52), Proto(4))
    };
    let clash = theirs(0x0f00_0000);
    rig.execute(vec![Step::AddRule(clash.clone())])?;
    let before = Machine::read(&rig)?;
    let words = [
        "mark mask 0xff000000 clashes",
        "pref 5000",
        "0x1000000/0xf000000",
        "set reserve.mark_mask",
    ];
    says(&rig, &["check"], 1, &words)?;
    ensure_run_refused(&rig, 4, &words)?;
    Machine::read(&rig)?.ensure_is(&before)?;
    // What is advised helps.
    let other = config(&[3, 2]) + "[reserve]\nmark_mask = \"0x00ff0000\"\n";
    rig.places().write_config(&other)?;
    says(&rig, &["check"], 0, &[])
}

pub(crate) fn strangers_in_our_ranges() -> Result<()> {
    let (rig, _) = fresh(&config(&[3, 2]))?;
    let dump = rig.dump()?;
    let device = dump.link("wan1").context("no wan1")?.device.clone();
    let nexthop = Nexthop {
        id: NexthopId(177_000_001),
        proto: Proto(4),
        kind: NexthopKind::Single {
            on_link: false,
            family: Family::V4,
            device,
            gateway: None,
        },
    };
    rig.execute(vec![Step::AddNexthop(nexthop)])?;
    let before = Machine::read(&rig)?;
    let words = [
        "177000001",
        "belongs to somebody else",
        "move reserve.nexthop_ids",
    ];
    says(&rig, &["check"], 1, &words)?;
    ensure_run_refused(&rig, 4, &words)?;
    Machine::read(&rig)?.ensure_is(&before)
}

pub(crate) fn a_damaged_memory() -> Result<()> {
    let mut rig = Rig::start(&config(&[3, 2]))?;
    rig.stop_daemon()?;
    let file = rig.places().state().join("state.json");
    let good = fs::read(&file)?;
    for bad in ["", "{", "{\"slots\": 7}", "\0\0\0"] {
        fs::write(&file, bad)?;
        let before = Machine::read(&rig)?;
        let words = ["state.json is damaged", "move it away"];
        for command in ["plan", "run", "clean"] {
            let output = refused_run(&rig, &[command])?;
            ensure_said(command, &output, 4, &words).with_context(|| format!("{bad:?}"))?;
        }
        // What keeps `run` from starting must not look fine to `check`.
        says(&rig, &["check"], 1, &words)?;
        Machine::read(&rig)?.ensure_is(&before)?;
    }
    // What is advised helps, and what is in the kernel is known again by what it is.
    fs::remove_file(&file)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    rig.stop_daemon()?;
    fs::write(&file, good)?;
    says(&rig, &["clean"], 0, &[])
}

pub(crate) fn a_second_daemon() -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let before = Machine::read(&rig)?;
    let pid = rig.daemon()?.process().pid().to_string();
    ensure_run_refused(
        &rig,
        4,
        &["uplinkd already runs here", &pid, "--runtime-dir"],
    )?;
    Machine::read(&rig)?.ensure_is(&before)?;
    // The first one is none the worse.
    let status = rig.status()?;
    if status.pid.to_string() != pid {
        bail!("another daemon answers: {}", status.pid);
    }
    rig.wait_settled()?;
    Ok(())
}
