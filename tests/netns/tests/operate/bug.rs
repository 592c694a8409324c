//! `uplinkctl report --bug` of a daemon whose file is full of secrets.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context, Result, ensure};
use uplinkd_lab::LabSpec;
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, within};

use crate::common::says;

/// In everything that must not leave the machine.
const SECRET: &str = "Zb9kQ7secret";

pub(crate) fn a_report_has_what_helps_and_no_secret() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), "")?;
    let tokens = rig.places().state().with_file_name("tokens");
    fs::write(&tokens, format!("{SECRET}-which-is-long-enough\n"))?;
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600))?;
    // The secrets stand where a file can have them: in pages, in what a page must hold, in arguments, in
    // comments, and in the file of tokens.
    let file = config(&[1, 1])
        + &format!(
            "# {SECRET} in a comment\n\
             [[policy]]\nname = \"plain\"\nmatch = {{ destination = \"203.0.113.0/24\" }}\nuse = \"isp1\"\n\
             [record]\nsamples = true\n\
             [api]\nlisten = \"127.0.0.1:18177\"\ntoken_file = \"{}\"\n",
            tokens.display()
        );
    let targets = format!(
        "targets = [\"gateway\", \"icmp:198.18.0.1\", \"http://198.18.0.1/{SECRET}?key={SECRET}\", \
         {{ target = \"http://198.18.0.2/\", body = \"{SECRET}\" }}, \
         {{ command = [\"/bin/true\", \"--key\", \"{SECRET}\", \"{SECRET}\"] }}]"
    );
    let file = with_targets(&file, &targets)?;
    rig.places().write_config(&file)?;
    rig.start_daemon()?;
    within("it runs", EVENTUALLY, || {
        Ok(rig.status().is_ok_and(|s| s.settled))
    })?;
    let status = says(&rig, "status --json", 0)?;
    ensure!(status.contains(SECRET), "nothing to hide: {status}");
    // The recorder keeps samples for a while; its end writes them.
    rig.stop_daemon()?;
    rig.start_daemon()?;
    within("it runs again", EVENTUALLY, || {
        Ok(rig.status().is_ok_and(|s| s.settled))
    })?;

    let text = says(&rig, "report --bug --output -", 0)?;
    let leak = text.lines().find(|line| line.contains(SECRET));
    ensure!(leak.is_none(), "a secret leaves the machine: {leak:?}");
    for part in [
        "\n===== versions.txt\nuplinkd ",
        "\nkernel ",
        "\n===== config.toml\n",
        "name = \"plain\"",
        "token_file = ",
        "\n===== kernel.txt\n",
        "pref 2010 from all oif wan1 lookup ",
        "\n===== nft.txt\ntable inet uplinkd {",
        "\n===== plan.txt\n",
        "\n===== status.json\n",
        "\n===== events.json\n",
        "\n===== metrics.txt\n",
        "uplinkd_settled 1",
        "\n===== journal.txt\n",
        "\n===== samples.csv\ntime,uplink,target,rtt_ms",
        "icmp:198.18.0.1",
    ] {
        ensure!(text.contains(part), "{part:?} is not in\n{text}");
    }
    // What it came from is as it was: a look changes nothing.
    let plan = rig.tool("uplinkd", &["plan"])?;
    ensure!(plan.stdout.is_empty(), "{}", plan.stdout);
    Ok(())
}

/// The file with these targets for all uplinks.
fn with_targets(file: &str, targets: &str) -> Result<String> {
    let begin = file.find("targets = [").context("no targets")?;
    let end = begin + file[begin..].find(']').context("no end of targets")? + 1;
    Ok(format!("{}{targets}{}", &file[..begin], &file[end..]))
}
