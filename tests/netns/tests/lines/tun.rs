//! A tunnel that a program carries (OpenVPN), as an uplink. The program's own packets are led by a
//! policy of ours like any other of the router's, and never into the tunnel itself.

use anyhow::{Context, Result, ensure};
use uplinkd_lab::{
    Fault, LabSpec,
    programs::{OpenVpn, TUN, TUN_FAR, TUN_NEAR, TUN_PORT, ip},
    stretched,
    traffic::Transport,
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Ask, EVENTUALLY, Rig, config, isp, within};

use crate::common::{ensure_inside, ensure_over, told};

/// Where the far end is reached: an address in the internet, by both lines.
const ENDPOINT: &str = "9.9.9.9";

/// The second line carries the tunnel as long as it can, whatever the weights.
fn file() -> String {
    format!(
        "{}[uplink.vpn]\ninterface = \"{TUN}\"\n\
         [uplink.vpn.ipv6]\nuse = false\n\
         [uplink.vpn.probe]\ntargets = [\"icmp:{TUN_FAR}\"]\n\
         [group.default]\ntiers = [[\"isp1\", \"isp2\"]]\n\
         [group.carrier]\ntiers = [[\"isp2\"], [\"isp1\"]]\n\
         failback = {{ flows = \"move\" }}\n\
         [[policy]]\nname = \"carrier\"\n\
         match = {{ destination = \"{ENDPOINT}\", protocol = \"udp\", dport = {TUN_PORT} }}\n\
         use = \"carrier\"\n\
         [[policy]]\nname = \"inside\"\nmatch = {{ destination = \"198.18.0.77\" }}\nuse = \"vpn\"\n\
         otherwise = \"block\"\n",
        config(&[1, 1])
    )
}

pub(crate) fn a_tunnel_by_a_program_is_an_uplink_and_is_led_itself() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &file())?;
    ip(rig.lab().internet(), "address add 198.18.0.77/32 dev lo")?;
    rig.start_daemon()?;
    let tunnel = OpenVpn::start(rig.lab(), ENDPOINT.parse()?)?;
    ip(
        rig.lab().internet(),
        &format!("route add 10.0.0.0/16 dev {TUN}"),
    )?;
    let is_up = |s: &uplinkd_api::Status| {
        s.settled && s.uplinks.iter().any(|u| u.name == "vpn" && u.in_service)
    };
    rig.wait_for("the tunnel serves", EVENTUALLY, is_up)
        .with_context(|| tunnel.log())?;
    rig.wait_settled()?;
    for (dead, carrier) in [(None, 2), (Some(2), 1), (None, 2), (Some(1), 2)] {
        let broken = match dead {
            Some(dead) => {
                let broken = Fault::Upstream.apply(rig.lab(), isp(dead))?;
                rig.wait_out(isp(dead))?;
                Some(broken)
            }
            None => None,
        };
        let when = format!("without {dead:?}");
        wait_carried(&tunnel, carrier).with_context(|| format!("{when}: {}", tunnel.log()))?;
        rig.wait_for("the tunnel serves", EVENTUALLY, is_up)?;
        ensure_inside(&rig, TUN_NEAR.parse()?, &when)?;
        if let Some(broken) = broken {
            broken.heal()?;
            rig.wait_settled()?;
        }
    }
    ensure_over(&rig, &[Family::V4], &[isp(1), isp(2)], "beside the tunnel")?;
    // A tunnel whose packets went into itself would send far more than it was given.
    let before = sent(&rig)?;
    std::thread::sleep(stretched(std::time::Duration::from_secs(1)));
    let packets = sent(&rig)? - before;
    ensure!(packets < 200, "{packets} packets in an idle second");
    drop(tunnel);
    rig.wait_for("the tunnel is out", EVENTUALLY, |s| s.settled && !is_up(s))?;
    for from in [rig.lab().client(), rig.lab().router()] {
        let answer = Ask::new(Transport::Udp, "198.18.0.77".parse()?).once(from)?;
        ensure!(!answer.is_seen(), "it leaked: {answer:?}");
    }
    Ok(())
}

/// Waits until the tunnel's own packets come from the address of a line.
fn wait_carried(tunnel: &OpenVpn, line: usize) -> Result<()> {
    let own = isp(line).router(Family::V4).addr();
    let what = format!("{} carries the tunnel", isp(line));
    within(&what, EVENTUALLY, || Ok(tunnel.peer() == Some(own)))
}

/// How many packets went into the tunnel.
fn sent(rig: &Rig) -> Result<u64> {
    let told = told(rig.lab().router(), "ip", &format!("-s link show {TUN}"))?;
    let numbers = told
        .lines()
        .skip_while(|l| !l.trim().starts_with("TX:"))
        .nth(1);
    let packets = numbers.and_then(|l| l.split_whitespace().nth(1));
    Ok(packets.context("no counters")?.parse()?)
}
