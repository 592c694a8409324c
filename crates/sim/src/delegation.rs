//! Delegated prefixes come, go and change; what must then hold, worked out from the world itself.

use std::{collections::BTreeSet, time::Duration};

use ipnet::{IpNet, Ipv6Net};
use uplinkd_core::Time;
use uplinkd_model::{Config, Family, Nat, nft::NftTable};

use crate::{
    faults::Fault,
    kernel::{Packet, lan_address, lan_network, server},
    net::Line,
    scenario::LAN,
    world::{Exit, World},
};

/// Provider's prefixes are told apart by this many numbers each.
const NUMBERS: u8 = 8;

/// The prefix of a number that the provider of an uplink delegates.
pub(crate) fn prefix(uplink: usize, number: u8) -> Ipv6Net {
    let third = (uplink as u16 + 1) << 8 | u16::from(number % NUMBERS) << 4;
    let address = std::net::Ipv6Addr::new(0x2001, 0xdb8, third, 0, 0, 0, 0, 0);
    Ipv6Net::new_assert(address, 56)
}

/// Draws what IPv6 sources become of, in a sequence of its own so that old seeds keep their stories.
pub(crate) fn draw_nat(luck: &fastrand::Rng, config: &mut Config) {
    let mut own = apart(luck);
    for access in config.uplinks.iter_mut().filter_map(|u| u.ipv6.as_mut()) {
        let nat = [Nat::Masquerade, Nat::Auto, Nat::Prefix, Nat::Prefix];
        access.nat = nat[own.usize(0..nat.len())];
    }
}

/// Draws when prefixes come and go; likewise.
pub(crate) fn draw_faults(luck: &fastrand::Rng, lines: &[Line], until: Time) -> Vec<(Time, Fault)> {
    let mut own = apart(luck);
    let mut faults = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if line.family != Family::V6 || own.u8(0..3) == 0 {
            continue;
        }
        for _ in 0..own.u8(1..4) {
            let at = Duration::from_millis(own.u64(0..(until.0.as_millis() as u64).max(1)));
            let number = (own.u8(0..4) > 0).then(|| own.u8(0..NUMBERS));
            faults.push((Time(at), Fault::Delegate(index, number)));
        }
    }
    faults
}

fn apart(luck: &fastrand::Rng) -> fastrand::Rng {
    fastrand::Rng::with_seed(luck.clone().u64(..) ^ 0x6e70_7476)
}

/// Each prefix leaves by its own line while that serves and like anything else while not; it is left
/// alone there, and what is translated to it gets a part of its own.
pub(crate) fn judge(world: &World) -> Result<(), String> {
    for (prefix, interface) in world.kernel.delegated() {
        let Some(index) = world.net.line_on(interface, Family::V6) else {
            continue;
        };
        let line = &world.net.lines[index];
        let link = world.kernel.link(interface);
        if !line.routed || world.said.absent[index] || link.is_none_or(|l| !l.admin_up) {
            continue;
        }
        let uplink = &world.scenario.uplinks[line.uplink];
        let found = world.exit_of(&Packet {
            iif: LAN,
            oif: None,
            from: Some(lan_address(prefix, 20).into()),
            to: server(Family::V6, 80),
            mark: 0,
        });
        let wanted = if world.said.takes_new(index) {
            Exit::By {
                table: world.scenario.config.reserve.table_service(uplink.slot),
                lines: vec![(index, 1)],
            }
        } else {
            world.exit(0, Family::V6)
        };
        if found != wanted {
            return Err(format!(
                "prefix {prefix} of line {index} leads to {found:?} instead of {wanted:?}"
            ));
        }
        let table = world.kernel.nft().ok_or("there is no nft table")?;
        let nat = uplink.ipv6.as_ref().map_or(Nat::None, |a| a.nat);
        judge_translation(world, table, uplink.slot.0, prefix, nat)
            .map_err(|what| format!("uplink {}: {what}", uplink.name))?;
    }
    Ok(())
}

fn judge_translation(
    world: &World,
    table: &NftTable,
    slot: u16,
    prefix: Ipv6Net,
    nat: Nat,
) -> Result<(), String> {
    let mut uplinks = table.uplinks.iter();
    let own = uplinks.find(|u| u.slot == slot).ok_or("it is not in nft")?;
    let is_kept = own.kept.contains(&prefix);
    if is_kept != matches!(nat, Nat::Auto | Nat::Prefix) {
        return Err(format!("{:?} is kept, with nat {nat:?}", own.kept));
    }
    if own.kept.len() > 1 {
        // The only uplink with IPv6 also owns what came by an interface that is none.
        return Ok(());
    }
    let mut networks: BTreeSet<Ipv6Net> =
        world.kernel.delegated().map(|d| lan_network(d.0)).collect();
    let own_network = lan_network(prefix);
    networks.remove(&own_network);
    networks.insert(crate::kernel::client_network());
    if world.scenario.config.lan.is_empty() {
        networks.extend(beside(world));
    }
    networks.retain(|n| !prefix.contains(n));
    if nat != Nat::Prefix {
        networks.clear();
    }
    let translated: BTreeSet<_> = own.translations.iter().map(|t| t.network).collect();
    if translated != networks {
        return Err(format!(
            "{translated:?} are translated instead of {networks:?}"
        ));
    }
    let parts: BTreeSet<_> = own.translations.iter().map(|t| t.by).collect();
    let are_fit = parts
        .iter()
        .all(|p| prefix.contains(p) && *p != own_network && p.prefix_len() == 64);
    if !are_fit || parts.len() != networks.len() {
        return Err(format!("{:?} are no parts of {prefix}", own.translations));
    }
    Ok(())
}

/// Networks of interfaces that are neither the LAN's nor any uplink's. Without `lan` in the file these
/// are of the LAN too.
fn beside(world: &World) -> Vec<Ipv6Net> {
    let uplinks = &world.scenario.config.uplinks;
    let links = world.kernel.links();
    let links = links.filter(|l| !uplinks.iter().any(|u| u.interface == l.device.name));
    let addresses = links.flat_map(|l| l.addresses_of(Family::V6));
    let networks = addresses.filter_map(|a| match a.trunc() {
        IpNet::V6(network) => Some(network),
        IpNet::V4(_) => None,
    });
    networks.collect()
}
