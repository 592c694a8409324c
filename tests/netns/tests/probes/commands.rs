//! Programs of the user's.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context, Result, ensure};
use uplinkd_model::{Family, Reserve, Slot};
use uplinkd_netns_tests::isp;

use crate::common::{file, rig, wait_good, wait_refused};

/// It leaves word of what it was told, and does what a file says.
const SCRIPT: &str = r#"echo "$UPLINK $FAMILY $DEVICE $MARK $SOURCE" > "$0/told"
read -r what < "$0/what"
case "$what" in
  good) exit 0 ;;
  hang) sleep 1000 & echo $! > "$0/left"; sleep 1000 ;;
  *) echo "the weather is $what"; exit 1 ;;
esac"#;

pub(crate) fn a_program_that_fails_and_one_that_hangs() -> Result<()> {
    let family = Family::V4;
    let mut rig = rig(family, "")?;
    let folder = rig.lab().folder().to_owned();
    // It may run as somebody who has no rights here.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let target = format!(
        "{{ command = [\"/bin/sh\", \"-c\", {SCRIPT:?}, {folder:?}], timeout = \"500ms\" }}"
    );
    rig.places().write_config(&file(family, &target))?;
    let what = |word: &str| fs::write(folder.join("what"), format!("{word}\n"));
    what("good")?;
    rig.start_daemon()?;
    wait_good(&rig, family)?;
    let told = fs::read_to_string(folder.join("told"))?;
    ensure!(told.trim() == expected(), "{told}");
    what("bad")?;
    wait_refused(&rig, family, "exit code 1: the weather is bad")?;
    what("good")?;
    wait_good(&rig, family)?;
    what("hang")?;
    wait_refused(&rig, family, "still running after 500ms, and ended")?;
    what("good")?;
    wait_good(&rig, family)?;
    let left = fs::read_to_string(folder.join("left")).context("it did not hang")?;
    ensure!(!runs(&left), "{left} still runs");
    // While one is running the daemon is stopped.
    what("hang")?;
    fs::remove_file(folder.join("left"))?;
    uplinkd_netns_tests::within("it hangs again", crate::common::LONG, || {
        Ok(fs::read_to_string(folder.join("left")).is_ok_and(|l| l.ends_with('\n')))
    })?;
    let left = fs::read_to_string(folder.join("left"))?;
    rig.stop_daemon()?;
    uplinkd_netns_tests::within("what it began has ended", crate::common::LONG, || {
        Ok(!runs(&left))
    })
}

/// What the script is told on the first line: the mark leads to the path, whatever the health.
fn expected() -> String {
    let mark = Reserve::default().mark_in(Slot(1)).value;
    let own = isp(1).router(Family::V4).addr();
    format!("isp1 ipv4 wan1 {mark:#x} {own}")
}

/// Whether a process runs; one that only waits for somebody to hear of its end does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|s| !s.contains(") Z "))
}
