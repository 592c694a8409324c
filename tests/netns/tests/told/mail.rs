//! E-mail.

use anyhow::{Result, ensure};
use uplinkd_lab::Fault;
use uplinkd_netns_tests::isp;

use crate::common::{rig, says, start, wait_text};

/// Takes a letter only where it finds nothing in the way.
const SENDMAIL: &str = "test -e $out/full && { echo 'queue is full'; exit 75; }\n\
                        echo \"$@\" >>$out/arguments\n\
                        cat >>$out/letters";

pub(crate) fn a_letter_is_handed_over_and_again_when_it_was_not_taken() -> Result<()> {
    let (mut rig, folder) = rig(|_, folder| {
        let sendmail = folder.put("sendmail", 0o755, SENDMAIL)?;
        Ok(format!(
            "[notify]\ntogether = \"100ms\"\n\
             [notify.mail]\nto = [\"ops@example.org\", \"root\"]\nfrom = \"gate@example.org\"\nsendmail = {sendmail:?}\n"
        ))
    })?;
    start(&mut rig)?;
    std::fs::write(folder.out.join("full"), "")?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    wait_text("it is not taken", "exit code 75: queue is full", || {
        rig.daemon_log()
    })?;
    let said = says(&rig, "status", 0)?;
    ensure!(said.contains("mail could not be told all"), "{said}");
    std::fs::remove_file(folder.out.join("full"))?;
    wait_text(
        "it is taken later",
        "uplink isp1 (IPv4) went from up to down",
        || folder.left("letters"),
    )?;
    let letter = folder.left("letters");
    for line in [
        "From: uplinkd <gate@example.org>\nTo: ops@example.org,\n root\nSubject: ",
        "Auto-Submitted: auto-generated\n",
    ] {
        ensure!(letter.contains(line), "{line:?} is not in\n{letter}");
    }
    ensure!(
        folder.left("arguments").lines().all(|l| l == "-t -i"),
        "{}",
        folder.left("arguments")
    );
    broken.heal()?;
    wait_text("the return", "went from down to up", || {
        folder.left("letters")
    })
}
