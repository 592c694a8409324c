//! The router's own services and port forwards, on all lines at once, whatever the policies say of
//! outgoing traffic.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use uplinkd_lab::{
    addresses,
    traffic::{PORT, Ping, Servers, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Ask,
    ask::{Conversation, ask_all, open_all},
    isp, servers_of,
};

use crate::stage::{FAMILIES, Stage, policies};

/// The port that leads to the host in the LAN.
const FORWARDED: u16 = 9100;
/// How many clients of each kind.
const CLIENTS: usize = 150;

pub(crate) fn hundreds_of_clients_are_answered_on_every_line() -> Result<()> {
    // All that the LAN and the router begin is led to one line or refused; answers are not begun.
    let list = [
        ("sport = 9000", "use = \"block\""),
        ("protocol = \"icmp\"", "use = \"block\""),
        (
            "interface = \"lan0\"",
            "use = \"isp2\"\notherwise = \"block\"",
        ),
        ("", "use = \"isp1\""),
    ];
    let stage = Stage::set(&policies(list))?;
    let lab = stage.rig.lab();
    let (host4, host6) = (
        addresses::client(Family::V4, 0).addr(),
        addresses::client(Family::V6, 0).addr(),
    );
    lab.router().nft(&format!(
        "table inet test_dnat {{ chain pre {{ type nat hook prerouting priority dstnat; \
         iifname \"wan*\" meta l4proto {{ tcp, udp }} th dport {FORWARDED} dnat ip to {host4}:{PORT}; \
         iifname \"wan*\" meta l4proto {{ tcp, udp }} th dport {FORWARDED} dnat ip6 to [{host6}]:{PORT}; \
         }}; }}\n"
    ))?;
    let _own = Servers::start(lab.router(), PORT)?;
    let _behind = Servers::start(lab.client(), PORT)?;
    let mut held: Vec<Conversation> = Vec::new();
    for line in [isp(1), isp(2)] {
        for family in FAMILIES {
            let to: IpAddr = line.router(family).addr();
            let callers = servers_of(lab, family);
            for transport in [Transport::Udp, Transport::Tcp] {
                for port in [PORT, FORWARDED] {
                    let ask = |n: usize| {
                        let ask = Ask::new(transport, to).port(port);
                        ask.from(callers[n % callers.len()])
                    };
                    let mut some = open_all(lab.internet(), (0..CLIENTS).map(ask))?;
                    ensure_answered(&mut some, &format!("{transport:?} to {to} port {port}"))?;
                    held.extend(some);
                }
            }
            for _ in 0..20 {
                ensure!(
                    Ping::new(to).ask(lab.internet())?.is_some(),
                    "no echo of {to}"
                );
            }
        }
    }
    // Other policies and other weights are nothing to those who came in.
    stage.reload(&policies([("", "use = \"block\"")]))?;
    ensure_answered(&mut held, "after everything is refused")?;
    stage.reload("")?;
    ensure_answered(&mut held, "after all policies went")
}

fn ensure_answered(held: &mut [Conversation], what: &str) -> Result<()> {
    let answers = ask_all(held);
    let lost: Vec<_> = answers.iter().filter(|a| !a.is_seen()).collect();
    ensure!(
        lost.is_empty(),
        "{what}: {} of {} lost: {:?}",
        lost.len(),
        answers.len(),
        lost[0]
    );
    Ok(())
}
