//! New connections are shared out by weight.

use anyhow::{Result, ensure};
use uplinkd_lab::{
    Fault, LabSpec, Netns,
    traffic::{Transport, shares},
};
use uplinkd_netns_tests::{
    Ask, Rig,
    ask::{ask_all, open_all},
    config, isp, servers,
};

/// How many connections are counted, and how far from 60 % they may be.
const COUNT: usize = 10_000;
const TOLERANCE: f64 = 2.0;

pub(crate) fn forwarded_udp() -> Result<()> {
    balanced(Transport::Udp, |rig| rig.lab().client())
}

pub(crate) fn forwarded_tcp() -> Result<()> {
    balanced(Transport::Tcp, |rig| rig.lab().client())
}

pub(crate) fn own_udp() -> Result<()> {
    balanced(Transport::Udp, |rig| rig.lab().router())
}

pub(crate) fn own_tcp() -> Result<()> {
    balanced(Transport::Tcp, |rig| rig.lab().router())
}

pub(crate) fn three_uplinks_keep_their_proportions_when_one_fails() -> Result<()> {
    let spec = LabSpec {
        uplinks: 3,
        ..LabSpec::default()
    };
    let mut rig = Rig::without_daemon(spec, &config(&[3, 2, 1]))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let lab = rig.lab();
    let count = |wanted: [f64; 3]| -> Result<()> {
        let counted = shares(lab.client(), Transport::Udp, &servers(lab), COUNT)?;
        ensure!(counted.answered() == COUNT, "{counted}");
        for (isp, wanted) in lab.isps().zip(wanted) {
            ensure!(
                (counted.percent(isp) - wanted).abs() <= TOLERANCE,
                "{counted}"
            );
        }
        Ok(())
    };
    count([50.0, 33.3, 16.7])?;
    let asks = servers(lab)
        .into_iter()
        .map(|to| Ask::new(Transport::Tcp, to));
    let mut held = open_all(lab.client(), asks.collect::<Vec<_>>())?;
    let began = ask_all(&mut held);
    let broken = Fault::Upstream.apply(lab, isp(2))?;
    rig.wait_out(isp(2))?;
    for (now, began) in ask_all(&mut held).iter().zip(&began) {
        ensure!(
            now == began || began.isp() == Some(isp(2)),
            "{began:?} became {now:?}"
        );
    }
    count([75.0, 0.0, 25.0])?;
    broken.heal()?;
    rig.wait_settled()?;
    count([50.0, 33.3, 16.7])
}

fn balanced(transport: Transport, place: fn(&Rig) -> &Netns) -> Result<()> {
    let rig = Rig::start(&config(&[3, 2]))?;
    let counted = shares(place(&rig), transport, &servers(rig.lab()), COUNT)?;
    ensure!(
        counted.answered() == COUNT && counted.elsewhere == 0,
        "{counted}"
    );
    let first = counted.percent(isp(1));
    ensure!((first - 60.0).abs() <= TOLERANCE, "{counted}");
    crate::flows::figure(&format!("3:2 over {transport:?}: {counted}"));
    Ok(())
}
