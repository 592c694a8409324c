//! What the stories have in common: one uplink that is tested by one target, another one beside it.

use std::time::Duration;

use anyhow::{Result, ensure};
use uplinkd_api::{Status, TargetState, TargetStatus};
use uplinkd_lab::{Fault, Isp, LabSpec};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Rig, config, find_line, isp};

use crate::far::Far;

/// What is dear to ask is asked seldom: ten seconds between two questions while all is well, then
/// five good answers, a second apart.
pub(crate) const LONG: Duration = Duration::from_secs(40);

/// The first line has one family, and this target; the second one what all have.
pub(crate) fn file(family: Family, target: &str) -> String {
    let other = match family {
        Family::V4 => "ipv6",
        Family::V6 => "ipv4",
    };
    let common = config(&[1, 1]);
    format!(
        "{common}[uplink.isp1.{other}]\nuse = false\n\
         [uplink.isp1.probe]\ntargets = [{target}]\ntimeout = \"1s\"\n"
    )
}

/// A laboratory with such a file, and nothing running.
pub(crate) fn rig(family: Family, target: &str) -> Result<Rig> {
    Rig::without_daemon(LabSpec::default(), &file(family, target))
}

/// The first line's only target.
pub(crate) fn target(status: &Status, family: Family) -> Option<&TargetStatus> {
    find_line(status, isp(1), family)?.targets.first()
}

/// Waits until the target answers and its line serves.
pub(crate) fn wait_good(rig: &Rig, family: Family) -> Result<()> {
    rig.wait_for("the target answers", LONG, |s| {
        let line = find_line(s, isp(1), family);
        let is_good = target(s, family).is_some_and(|t| t.state == TargetState::Pass);
        s.settled && is_good && line.is_some_and(|l| l.in_service)
    })?;
    Ok(())
}

/// Waits until the line is out of service, with these words in its reason and in the target's.
pub(crate) fn wait_refused(rig: &Rig, family: Family, why: &str) -> Result<()> {
    rig.wait_for(&format!("out because of {why:?}"), LONG, |s| {
        let line = find_line(s, isp(1), family);
        let is_told = |text: &Option<String>| text.as_ref().is_some_and(|t| t.contains(why));
        s.settled
            && line.is_some_and(|l| !l.in_service && l.reason.contains(why))
            && target(s, family).is_some_and(|t| is_told(&t.refusal))
    })?;
    Ok(())
}

/// A way to make a target's answers bad, and what is said of them.
pub(crate) struct Bad<'a> {
    pub(crate) make: Box<dyn Fn() + 'a>,
    pub(crate) why: &'static str,
}

pub(crate) fn bad<'a>(why: &'static str, make: impl Fn() + 'a) -> Bad<'a> {
    Bad {
        make: Box::new(make),
        why,
    }
}

/// A target's whole life: good, bad in each of these ways and good again, then cut off.
///
/// Whatever happens the question leaves by the line that it tests, also while that is out of service,
/// and although the server can be reached by the other one.
pub(crate) fn story(
    rig: &mut Rig,
    family: Family,
    far: &Far,
    good: impl Fn(),
    bads: &[Bad<'_>],
) -> Result<()> {
    good();
    rig.start_daemon()?;
    wait_good(rig, family)?;
    far.ensure_only_by(isp(1))?;
    for Bad { make, why } in bads {
        make();
        wait_refused(rig, family, why)?;
        far.ensure_only_by(isp(1))?;
        good();
        wait_good(rig, family)?;
        far.ensure_only_by(isp(1))?;
    }
    let lab = rig.shared_lab();
    let cut = Fault::Upstream.apply(&lab, isp(1))?;
    rig.wait_for("out because it is cut off", LONG, |s| {
        s.settled && find_line(s, isp(1), family).is_some_and(|l| !l.in_service)
    })?;
    let _ = far.peers();
    // Something is asked meanwhile, and nothing of it arrives by the other line.
    let sent = |s: &Status| target(s, family).map_or(0, |t| t.sent);
    let before = sent(&rig.status()?);
    rig.wait_for("asked again", LONG, |s| sent(s) > before)?;
    // Whoever came by the right one did so before, and was accepted late.
    let others = far.peers().into_iter().map(Isp::of);
    let others: Vec<_> = others.filter(|by| *by != Some(isp(1))).collect();
    ensure!(others.is_empty(), "asked by {others:?}");
    cut.heal()?;
    wait_good(rig, family)?;
    far.ensure_only_by(isp(1))
}
