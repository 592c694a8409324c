//! Docker: the real daemon with its bridge and its iptables rules.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use uplinkd_lab::{
    LabSpec, Netns,
    programs::Docker,
    traffic::{PORT, Servers, Transport},
};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Ask, Rig,
    ask::{ask_all, open_all},
    config, isp, servers,
};

use crate::common::{ensure_no_drift, ensure_over, ensure_shared, ensure_we_work, told};

/// The port that leads to the container.
const PUBLISHED: u16 = 8080;

/// The uplinks, with the containers' network among those that are shared out.
fn file(more: &str) -> String {
    config(&[1, 1]).replace("lan = [\"lan0\"]", "lan = [\"lan0\", \"docker0\"]") + more
}

/// A policy for what comes from containers.
const FROM_CONTAINERS: &str =
    "[[policy]]\nname = \"containers\"\nmatch = { interface = \"docker0\" }\nuse = \"isp2\"\n";

/// Everything that Docker is there for, and everything that we are.
fn ensure_both_work(rig: &Rig, docker: &Docker, container: &Netns) -> Result<()> {
    let lab = rig.lab();
    rig.reload(&file(""))?;
    ensure_we_work(rig, "beside Docker")?;
    ensure_shared(rig, container, Family::V4, "from a container")?;
    // What comes in for a container is answered by the line that it came in on.
    let _inside = Servers::start(container, PORT)?;
    docker.publish(lab, PUBLISHED, PORT)?;
    for line in [isp(1), isp(2)] {
        let to: IpAddr = line.router(Family::V4).addr();
        let callers = servers(lab);
        let ask = |n: usize| {
            let ask = Ask::new(Transport::Tcp, to).port(PUBLISHED);
            ask.from(callers[n % callers.len()])
        };
        let mut held = open_all(lab.internet(), (0..50).map(ask))?;
        let answers = ask_all(&mut held);
        ensure!(
            answers.iter().all(|a| a.is_seen()),
            "published on {line}: {answers:?}"
        );
    }
    rig.reload(&file(FROM_CONTAINERS))?;
    ensure_over(
        rig,
        container,
        Family::V4,
        &[isp(2)],
        "a container by a policy",
    )?;
    ensure_shared(rig, lab.client(), Family::V4, "the LAN beside that policy")?;
    // Its rules are as it made them.
    let nat = told(lab.router(), "iptables", "-t nat -S")?;
    for rule in [
        "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    ] {
        ensure!(nat.contains(rule), "`{rule}` is not in\n{nat}");
    }
    ensure_no_drift(rig)
}

pub(crate) fn docker_that_comes_after_us() -> Result<()> {
    let rig = Rig::start(&file(""))?;
    let docker = Docker::start(rig.lab())?;
    let container = docker.container(rig.lab())?;
    ensure_both_work(&rig, &docker, &container)
}

pub(crate) fn docker_that_was_there_before_us() -> Result<()> {
    let mut rig = Rig::without_daemon(LabSpec::default(), &file(""))?;
    let docker = Docker::start(rig.lab())?;
    let container = docker.container(rig.lab())?;
    // Docker that has to switch forwarding on lets nothing but its own be forwarded from then on;
    // its documentation says to let the rest pass here.
    uplinkd_lab::programs::iptables(rig.lab().router(), "-I DOCKER-USER -i lan0 -j ACCEPT")?;
    uplinkd_lab::programs::iptables(
        rig.lab().router(),
        "-I DOCKER-USER -o lan0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    ensure_both_work(&rig, &docker, &container)
}
