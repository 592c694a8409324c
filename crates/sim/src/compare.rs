//! The daemon's opinion and the kernel, compared with the reference once all is quiet.

use uplinkd_model::TableId;

use crate::{
    kernel::{Direction, Packet},
    reference, scenario,
    world::World,
};

/// Compares the daemon's opinion and the kernel with the reference.
pub(crate) fn judge(world: &World) -> Result<(), String> {
    let (config, said) = (&world.scenario.config, &world.said);
    if !world.daemon.as_ref().is_some_and(|d| d.has_looked) {
        return Err("the daemon has not looked yet".to_owned());
    }
    let expected = reference::expected(config, &world.kernel, &world.net);
    for (n, uplink) in expected.iter().enumerate() {
        if uplink.health != said.health[n] {
            return Err(format!(
                "uplink {n} is {} instead of {}",
                said.health[n], uplink.health
            ));
        }
    }
    reference::judge_service(&expected, &said.in_service, said.last_resort)?;
    if !said.settled || said.problem.is_some() {
        return Err(format!("not settled: {:?}", said.problem));
    }
    for (number, group) in config.groups.iter().enumerate() {
        let wanted = reference::ways(config, group, &expected, &said.in_service);
        let found = ways(world, config.reserve.table_group(number));
        if wanted != found {
            return Err(format!(
                "group {} leads to {found:?} instead of {wanted:?}",
                group.name
            ));
        }
    }
    for (n, uplink) in expected.iter().enumerate() {
        if said.in_service[n] && !world.is_pinned_well(n, Direction::Lan)
            || uplink.usable && !world.is_pinned_well(n, Direction::Inbound)
        {
            return Err(format!("marked connections of uplink {n} have no table"));
        }
    }
    let strays = world
        .kernel
        .connections
        .iter()
        .find(|c| c.direction != Direction::Inbound && !said.in_service[c.uplink]);
    if let Some(stray) = strays.filter(|_| said.in_service.contains(&true)) {
        return Err(format!(
            "connection {} still belongs to uplink {}, which is out of service",
            stray.id, stray.uplink
        ));
    }
    Ok(())
}

fn ways(world: &World, table: TableId) -> Vec<(usize, u16)> {
    let packet = Packet {
        iif: scenario::LAN,
        oif: None,
        from: None,
        to: std::net::IpAddr::from([192, 0, 2, 80]),
        mark: 0,
    };
    let Some(Ok(answer)) = world.kernel.ask(table, &packet) else {
        return Vec::new();
    };
    let uplink = |ifindex| {
        let name = world.kernel.name_of(ifindex)?;
        world.net.lines.iter().position(|l| l.interface == name)
    };
    let mut ways: Vec<_> = answer
        .ways
        .iter()
        .filter_map(|w| Some((uplink(w.ifindex)?, w.weight)))
        .collect();
    ways.sort_unstable();
    ways
}

impl World {
    /// Everything that routes, as text.
    pub(crate) fn fingerprint(&self) -> Vec<String> {
        let mut lines: Vec<_> = self
            .kernel
            .rules()
            .iter()
            .map(ToString::to_string)
            .collect();
        lines.extend(self.kernel.routes().map(ToString::to_string));
        lines.extend(self.kernel.nexthops().values().map(ToString::to_string));
        lines
    }
}
