//! The daemon's opinion and the kernel, compared with the reference once all is quiet.

use uplinkd_core::OutletState;
use uplinkd_model::{Family, TableId, policy::End};
use uplinkd_policy::{evaluate, naive};

use crate::{
    delegation,
    kernel::{Direction, Packet, server},
    reference::{self, Expected, Layout, LayoutKind},
    scenario::{FAMILIES, LAN, TUNNEL, talk},
    world::{Exit, World, flow, led_to},
};

/// How many conversations are classified by the kernel's table and by the policies themselves.
const TALKS: usize = 6;

/// Compares the daemon's opinion and the kernel with the reference.
pub(crate) fn judge(world: &World) -> Result<(), String> {
    let said = &world.said;
    if !world.daemon.as_ref().is_some_and(|d| d.has_looked) {
        return Err("the daemon has not looked yet".to_owned());
    }
    let expected = reference::expected(&world.scenario.uplinks, &world.kernel, &world.net);
    for (n, line) in expected.iter().enumerate() {
        if said.absent[n] && line.may_be_absent {
            continue;
        }
        if said.absent[n] || line.health != said.health[n] {
            return Err(format!(
                "line {n} is {} instead of {}",
                said.health[n], line.health
            ));
        }
    }
    for family in FAMILIES {
        let lines: Vec<_> = world.net.of(family).collect();
        let of: Vec<_> = lines.iter().map(|l| expected[*l]).collect();
        let serves: Vec<_> = lines.iter().map(|l| said.in_service[*l]).collect();
        reference::judge_service(&of, &serves, *said.last_resort.of(family))
            .map_err(|what| format!("{family}: {what}"))?;
    }
    if !said.settled || said.problem.is_some() {
        return Err(format!("not settled: {:?}", said.problem));
    }
    for index in 0..world.layouts.len() {
        for family in FAMILIES {
            judge_outlet(world, &expected, index, family)?;
        }
    }
    for (n, line) in expected.iter().enumerate() {
        if said.in_service[n] && !world.is_pinned_well(n, Direction::Lan)
            || line.usable && !world.is_pinned_well(n, Direction::Inbound)
        {
            return Err(format!("marked connections of line {n} have no table"));
        }
    }
    judge_connections(world)?;
    world.judge_left_behind()?;
    judge_classification(world)?;
    delegation::judge(world)?;
    judge_tunnel(world)
}

fn judge_connections(world: &World) -> Result<(), String> {
    let said = &world.said;
    let serves = |family| world.net.of(family).any(|l| said.in_service[l]);
    let mut connections = world.kernel.connections.iter();
    let stray = connections.find(|c| {
        let is_out = c.direction != Direction::Inbound && !said.in_service[c.line];
        // The default group may have nothing but its last resort, while others serve.
        // What is left to `main` is left to `main`.
        let is_mains = || {
            let mut layouts = world.layouts.iter().chain(&world.earlier);
            layouts.any(|l| l.v4.code == c.outlet && l.v4.kind == LayoutKind::Main)
        };
        let is_kept = || world.exit(c.outlet, c.talk.family).lines() == [c.line];
        is_out && serves(c.talk.family) && !is_kept() && !is_mains() && !world.is_forgotten(c.line)
    });
    if let Some(stray) = stray {
        return Err(format!(
            "connection {} still belongs to line {}, which is out of service",
            stray.id, stray.line
        ));
    }
    let mut connections = world.kernel.connections.iter();
    let condemned = connections.find(|c| world.review.condemned.contains(&c.id));
    match condemned {
        Some(condemned) => Err(format!(
            "a policy forbids connection {} its uplink, and it was not released",
            condemned.id
        )),
        None => Ok(()),
    }
}

/// Where an outlet must lead now.
fn judge_outlet(
    world: &World,
    expected: &[Expected],
    index: usize,
    family: Family,
) -> Result<(), String> {
    let layout = world.layouts[index].of(family);
    let found = world.exit(layout.code, family);
    let wanted = wanted(world, expected, index, family);
    let is_same = |exit: &Exit| match layout.is_measured {
        true => exit.lines() == found.lines() && exit.table() == found.table(),
        false => *exit == found,
    };
    if wanted.iter().any(is_same) {
        return Ok(());
    }
    Err(format!(
        "outlet {} ({family}) leads to {found:?} instead of {wanted:?}",
        layout.name
    ))
}

/// What new connections of an outlet may find: one answer, but for the last resort, where the
/// tier that is kept may be any.
fn wanted(world: &World, expected: &[Expected], index: usize, family: Family) -> Vec<Exit> {
    let (said, layout) = (&world.said, world.layouts[index].of(family));
    let by = |table, lines| Exit::By { table, lines };
    let table = world.scenario.config.reserve.table_outlet(layout.code);
    let serving = |tier: &Vec<(usize, u16)>| {
        let mut lines: Vec<_> = tier.clone();
        lines.retain(|(line, _)| said.takes_new(*line));
        lines.sort_unstable();
        lines
    };
    let main = || main_exit(world, family);
    let end = match layout.kind {
        LayoutKind::Block => return vec![Exit::Refused],
        LayoutKind::Main => return vec![main()],
        LayoutKind::Uplinks(end) => end,
    };
    let Some(state) = said.outlets[index].of(family) else {
        // Nobody has this family.
        return vec![if end == End::Block {
            Exit::Refused
        } else {
            main()
        }];
    };
    match state {
        OutletState::Tier { .. } if said.preferred(index, family).is_some() => {
            let line = said.preferred(index, family).map(|line| (line, 1));
            vec![by(table, line.into_iter().collect())]
        }
        OutletState::Tier { index, .. } => vec![by(table, serving(&layout.tiers[*index]))],
        OutletState::LastResort => {
            let tiers = layout.tiers.iter().map(serving);
            let mut ways: Vec<_> = tiers.filter(|t| !t.is_empty()).collect();
            if ways.is_empty() {
                ways.push(last_resort(world, layout, expected, family));
            }
            let ways = ways.into_iter();
            ways.map(|lines| {
                if lines.is_empty() {
                    main()
                } else {
                    by(table, lines)
                }
            })
            .collect()
        }
        OutletState::Blocked => vec![Exit::Refused],
        OutletState::Default => vec![world.exit(0, family)],
        OutletState::Main => vec![main()],
    }
}

/// The usable members of the default group; where it has none, every usable line.
fn last_resort(
    world: &World,
    layout: &Layout,
    expected: &[Expected],
    family: Family,
) -> Vec<(usize, u16)> {
    let members = layout.tiers.iter().flatten().copied();
    let mut usable: Vec<_> = members.filter(|(l, _)| expected[*l].usable).collect();
    if usable.is_empty() {
        let lines = world.net.of(family).filter(|l| expected[*l].usable);
        usable.extend(lines.map(|l| (l, 1)));
    }
    usable.sort_unstable();
    usable
}

fn main_exit(world: &World, family: Family) -> Exit {
    let packet = Packet {
        iif: LAN,
        oif: None,
        from: None,
        to: server(family, 80),
        mark: 0,
    };
    match world.kernel.ask(TableId::MAIN, &packet) {
        Some(Ok(answer)) => Exit::By {
            lines: world.lines_by(&answer, family),
            table: answer.table,
        },
        Some(Err(())) => Exit::Refused,
        None => Exit::Nowhere,
    }
}

/// The kernel's table says of a conversation what the policies say.
fn judge_classification(world: &World) -> Result<(), String> {
    let Some(table) = world.kernel.nft() else {
        return Err("there is no nft table".to_owned());
    };
    let config = &world.scenario.config;
    let mut luck = world.luck.clone();
    for n in 0..TALKS {
        let talk = talk(&mut luck, FAMILIES[n % 2]);
        let direction = if luck.bool() {
            Direction::Lan
        } else {
            Direction::Own
        };
        let flow = flow(talk, direction);
        let found = led_to(&evaluate(&table.classifier, &flow));
        let answer = naive(&config.policies, &config.outlets, &flow, world.minute);
        let wanted = led_to(&answer);
        if found != wanted {
            return Err(format!(
                "{talk:?} ({direction:?}) is led to {found:?} instead of {wanted:?}"
            ));
        }
    }
    Ok(())
}

/// What belongs to somebody else's tunnel goes there, though his rule lies behind ours.
fn judge_tunnel(world: &World) -> Result<(), String> {
    for family in FAMILIES {
        let packet = Packet {
            iif: LAN,
            oif: None,
            from: None,
            to: server(family, 80),
            mark: TUNNEL.0.value,
        };
        let answer = world.kernel.lookup(&packet);
        if answer.as_ref().is_none_or(|a| a.table != TUNNEL.1) {
            return Err(format!("a tunnel's packet ({family}) goes by {answer:?}"));
        }
    }
    Ok(())
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
