//! Uplinks that stand on a cable: VLAN, bond, bridge, macvlan. For us they are interfaces like any
//! other, and that is what is tried: shares, failover, and the loss of the cable below.

use anyhow::Result;
use uplinkd_lab::{Fault, LabSpec, Line, lines::CABLES, plumbing::Plumber, programs::Missing};
use uplinkd_netns_tests::{Rig, config, isp};

use crate::common::{FAMILIES, ensure_over, told};

/// A laboratory whose second line is of a kind, with the daemon settled.
fn on(line: Line) -> Result<Rig> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    rig.lab().replace_line(isp(2), line)?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    Ok(rig)
}

/// It serves, it fails and returns by its probes, and a cut cable below it acts too.
fn serves_and_fails_over(line: Line) -> Result<()> {
    let rig = on(line)?;
    let both = [isp(1), isp(2)];
    ensure_over(&rig, &FAMILIES, &both, "all up")?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(2))?;
    rig.wait_out(isp(2))?;
    ensure_over(&rig, &FAMILIES, &[isp(1)], "dead beyond the gateway")?;
    broken.heal()?;
    rig.wait_settled()?;
    ensure_over(&rig, &FAMILIES, &both, "back again")?;
    cut(&rig, 0)?;
    rig.wait_out(isp(2))?;
    ensure_over(&rig, &FAMILIES, &[isp(1)], "the cable below is cut")
}

/// The far end of one of the router's cables goes down.
fn cut(rig: &Rig, number: usize) -> Result<()> {
    // A bridge's provider has given its own end the usual name.
    let provider = rig.lab().isp(isp(2));
    let links = told(provider, "ip", "-o link")?;
    let far = format!("far{}", number + 1);
    let name = if links.contains(&far) { &far } else { "cust" };
    Plumber::new(provider)?.set_up(name, false)
}

pub(crate) fn a_vlan_is_an_uplink() -> Result<()> {
    serves_and_fails_over(Line::Vlan)
}

pub(crate) fn a_bridge_is_an_uplink() -> Result<()> {
    serves_and_fails_over(Line::Bridge)
}

pub(crate) fn a_macvlan_is_an_uplink() -> Result<()> {
    serves_and_fails_over(Line::Macvlan)
}

pub(crate) fn a_bond_outlives_one_of_its_cables() -> Result<()> {
    let rig = on(Line::Bond)?;
    let both = [isp(1), isp(2)];
    ensure_over(&rig, &FAMILIES, &both, "both cables")?;
    let active = told(
        rig.lab().router(),
        "cat",
        "/sys/class/net/wan2/bonding/active_slave",
    )
    .unwrap_or_default();
    let first = usize::from(active.trim() == CABLES[1]);
    cut(&rig, first)?;
    // It may take the bond a moment to turn to the other cable, and no longer than the probes allow.
    rig.wait_settled()?;
    ensure_over(&rig, &FAMILIES, &both, "one cable")?;
    cut(&rig, 1 - first)?;
    rig.wait_out(isp(2))?;
    ensure_over(&rig, &FAMILIES, &[isp(1)], "no cable")
}

/// A distant line is no dead line.
pub(crate) fn a_line_with_delay_and_loss_stays_up() -> Result<()> {
    // Out only after five lost answers: three in a row would happen by chance, with two targets.
    let patient = config(&[1, 1]).replace("fall = 3", "fall = 8");
    let rig = Rig::start(&patient)?;
    let provider = rig.lab().isp(isp(2));
    let words = "qdisc add dev cust root netem delay 30ms 10ms loss 5%";
    if let Err(e) = told(provider, "tc", words) {
        let is_unknown = format!("{e:#}").contains("qdisc kind is unknown");
        return Err(if is_unknown {
            Missing {
                program: "netem".to_owned(),
                why: "this kernel cannot delay packets".to_owned(),
            }
            .into()
        } else {
            e
        });
    }
    let began = rig.count_events("health")?;
    std::thread::sleep(uplinkd_lab::stretched(std::time::Duration::from_secs(3)));
    anyhow::ensure!(
        rig.count_events("health")? == began,
        "a line with delay and loss changed its health: {:?}",
        rig.events()?.events
    );
    rig.wait_settled()?;
    Ok(())
}
