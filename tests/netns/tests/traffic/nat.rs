//! Source addresses: masquerade, a static one, and those that are not touched.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Result, ensure};
use ipnet::IpNet;
use uplinkd_lab::{Fault, LabSpec, plumbing::Plumber, traffic::Transport};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Answer, Ask, Rig,
    ask::{ask_all, open_all},
    config, isp, servers,
};

use crate::flows::{all_over, conversations};

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// A second address of the first line, for translation.
const STATIC: [u8; 4] = [100, 64, 1, 50];

/// A rig whose first uplink translates to a static address and whose second one masquerades.
fn rig() -> Result<Rig> {
    let static_nat = "[uplink.isp1.ipv4]\nnat = \"100.64.1.50\"\n";
    let mut rig = Rig::without_daemon(LabSpec::default(), &(config(&[3, 2]) + static_nat))?;
    let second = IpNet::new(STATIC.into(), 24)?;
    Plumber::new(rig.lab().router())?.add_addresses("wan1", &[second])?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    Ok(rig)
}

pub(crate) fn a_static_source_is_used_and_own_addresses_are_kept() -> Result<()> {
    let rig = rig()?;
    let (first, second) = (
        isp(1).router(Family::V4).addr(),
        isp(2).router(Family::V4).addr(),
    );
    let fixed: IpAddr = STATIC.into();
    for transport in BOTH {
        let to: Vec<_> = servers(rig.lab());
        let asks = to
            .iter()
            .map(|to| Ask::new(transport, *to))
            .collect::<Vec<_>>();
        let seen: BTreeSet<_> = ask_all(&mut open_all(rig.lab().client(), asks)?)
            .into_iter()
            .collect();
        ensure!(
            seen == BTreeSet::from([Answer::Seen(fixed), Answer::Seen(second)]),
            "from the LAN: {seen:?}"
        );
        for own in [first, fixed, second] {
            let asks = to
                .iter()
                .take(20)
                .map(|to| Ask::new(transport, *to).from(own));
            let answers = ask_all(&mut open_all(rig.lab().router(), asks.collect::<Vec<_>>())?);
            ensure!(
                answers.iter().all(|a| *a == Answer::Seen(own)),
                "own, from {own}: {answers:?}"
            );
        }
    }
    Ok(())
}

pub(crate) fn a_static_source_does_not_hold_a_connection_back() -> Result<()> {
    let rig = rig()?;
    let mut moving = conversations(&rig, rig.lab().client(), Transport::Udp, 20)?;
    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    rig.wait_out(isp(1))?;
    for (group, began) in [(&mut moving.first, "isp1"), (&mut moving.second, "isp2")] {
        all_over(
            &ask_all(group),
            isp(2),
            &format!("began on {began}, isp1 is out"),
        )?;
    }
    broken.heal()?;
    rig.wait_settled()?;
    for (group, began) in [(&mut moving.first, "isp1"), (&mut moving.second, "isp2")] {
        all_over(
            &ask_all(group),
            isp(2),
            &format!("began on {began}, isp1 is back"),
        )?;
    }
    Ok(())
}
