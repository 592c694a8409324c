//! What these tests ask again and again.

use std::{net::IpAddr, process::Command, time::Duration};

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Isp, Netns,
    traffic::{Shares, Transport, shares},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Answer, Ask, Rig, servers_of};

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// How many connections say where connections go. By chance alone, one line of two gets fewer than
/// an eighth of them about once in ten million times.
const CONNECTIONS: usize = 48;

/// Connections from the LAN and from the router use just these lines, and none fails.
pub(crate) fn ensure_over(rig: &Rig, families: &[Family], lines: &[Isp], when: &str) -> Result<()> {
    let lab = rig.lab();
    for family in families {
        for from in [lab.client(), lab.router()] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let counted = counted(rig, from, transport, *family)?;
                let is_right = rig
                    .lab()
                    .isps()
                    .all(|i| (counted.of(i) > CONNECTIONS / 8) == lines.contains(&i));
                ensure!(
                    counted.failed == 0 && counted.elsewhere == 0 && is_right,
                    "{when}: {} {transport:?} {family}: {counted}, not over {lines:?}",
                    from.name()
                );
            }
        }
    }
    Ok(())
}

/// What a policy leads into a tunnel, an address behind its far end, is answered and comes from the
/// tunnel's own address.
pub(crate) fn ensure_inside(rig: &Rig, near: IpAddr, when: &str) -> Result<()> {
    let to = "198.18.0.77".parse()?;
    for from in [rig.lab().client(), rig.lab().router()] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let answer = Ask::new(transport, to).once(from)?;
            ensure!(
                answer == Answer::Seen(near),
                "{when}: {} {transport:?}: {answer:?}",
                from.name()
            );
        }
    }
    Ok(())
}

/// Where connections from somewhere went.
pub(crate) fn counted(
    rig: &Rig,
    from: &Netns,
    transport: Transport,
    family: Family,
) -> Result<Shares> {
    shares(from, transport, &servers_of(rig.lab(), family), CONNECTIONS)
}

/// What a command in a namespace says.
pub(crate) fn told(netns: &Netns, program: &str, words: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    let output = netns.output(command, "", Duration::from_secs(10))?;
    ensure!(
        output.status.success(),
        "`{program} {words}`: {}",
        output.stderr
    );
    Ok(output.stdout)
}
