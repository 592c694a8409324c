//! What these tests have in common: groups by port, and who carries what is sent there.

use std::{
    net::{IpAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use uplinkd_api::{GroupStatus, Status};
use uplinkd_lab::{Isp, Lab, traffic::Transport};
use uplinkd_model::Family;
use uplinkd_netns_tests::{Ask, Rig, ask::ask_all, ask::open_all, servers, servers_of};

/// What the status says of a group.
pub(crate) fn group<'s>(status: &'s Status, name: &str, family: Family) -> Option<&'s GroupStatus> {
    let mut groups = status.groups.iter();
    groups.find(|g| g.name == name && g.family == family)
}

/// The uplinks that serve a group.
pub(crate) fn serving(status: &Status, name: &str, family: Family) -> Vec<String> {
    let serving = group(status, name, family).map(|g| g.serving.as_slice());
    let names = serving.unwrap_or_default().iter();
    names.map(|s| s.uplink.clone()).collect()
}

/// How many of so many new connections of the LAN to a port each of the first lines carried. Those
/// that were not answered are left out.
pub(crate) fn carried(rig: &Rig, family: Family, port: u16, count: usize) -> Result<[usize; 3]> {
    let servers = servers_of(rig.lab(), family);
    let to = servers.iter().cycle().take(count);
    let asks = to.map(|server| Ask::new(Transport::Udp, *server).port(port));
    let mut open = open_all(rig.lab().client(), asks.collect::<Vec<_>>())?;
    let answers = ask_all(&mut open);
    let lines = answers.iter().filter_map(|a| a.isp());
    let lines: Vec<_> = lines.collect();
    Ok([1, 2, 3].map(|n| {
        let own = lines.iter().filter(|isp| Some(**isp) == Isp::new(n));
        own.count()
    }))
}

/// Connections of [`under_loads`]: that none of them goes by one of two equal lines is a matter of one
/// time in 65,000.
const LOADS: usize = 16;

/// Sends so many kilobits a second from the LAN to a server while `during` runs, all of one connection.
pub(crate) fn under_load<T>(
    rig: &Rig,
    server: IpAddr,
    kilobits: u64,
    during: impl FnOnce() -> Result<T>,
) -> Result<T> {
    load(rig.lab(), &[server], kilobits, during)
}

/// Sends so many kilobits a second from the LAN over all lines while `during` runs. The daemon may come
/// and go meanwhile.
pub(crate) fn under_loads<T>(
    lab: &Lab,
    kilobits: u64,
    during: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let to = servers(lab);
    let all: Vec<_> = to.into_iter().cycle().take(LOADS).collect();
    load(lab, &all, kilobits / LOADS as u64, during)
}

/// Sends so many kilobits a second to each of these, by a connection of its own.
fn load<T>(
    lab: &Lab,
    servers: &[IpAddr],
    kilobits: u64,
    during: impl FnOnce() -> Result<T>,
) -> Result<T> {
    const BYTES: u64 = 1200;
    let stop = AtomicBool::new(false);
    let pause = Duration::from_micros(BYTES * 8 * 1000 / kilobits);
    let send = |server: IpAddr| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let packet = [0; BYTES as usize];
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            // Refusals of the far end are told by errors; nothing hangs on them.
            let _ = socket.send_to(&packet, (server, 9));
            due += pause;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    };
    thread::scope(|scope| {
        let loads = servers.iter().map(|server| {
            let server = *server;
            let send = &send;
            scope.spawn(move || lab.client().run(|| send(server)))
        });
        let loads: Vec<_> = loads.collect();
        let done = during();
        stop.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().map_err(|_| anyhow!("a load died"))??;
        }
        done
    })
}
