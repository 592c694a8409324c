//! What others may see of the state.

use uplinkd_model::Target;

use super::Controller;
use crate::{
    FAMILY,
    probe::TargetKey,
    select::shares,
    status::{GroupSnapshot, Snapshot, TargetSnapshot, UplinkSnapshot},
};

impl Controller {
    /// A picture of the present state.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            settled: self.settle.is_settled(),
            problem: self.settle.problem.clone(),
            last_resort: self.service.last_resort,
            uplinks: (0..self.uplinks.len())
                .map(|index| self.uplink_snapshot(index))
                .collect(),
            groups: self
                .config
                .groups
                .iter()
                .map(|group| GroupSnapshot {
                    name: group.name.clone(),
                    family: FAMILY,
                    serving: shares(group, &self.service.uplinks),
                    last_resort: self.service.last_resort,
                })
                .collect(),
        }
    }

    fn uplink_snapshot(&self, index: usize) -> UplinkSnapshot {
        let (uplink, state) = (&self.config.uplinks[index], &self.uplinks[index]);
        let reserve = &self.config.reserve;
        let group = self.config.groups.first();
        let member = group
            .into_iter()
            .flat_map(|g| g.tiers.iter().flatten())
            .find(|m| m.uplink == uplink.name);
        let serving = group
            .map(|g| shares(g, &self.service.uplinks))
            .unwrap_or_default();
        let total: f64 = serving.iter().map(|s| f64::from(s.weight)).sum();
        let own = serving
            .iter()
            .find(|s| s.uplink == uplink.name)
            .map_or(0.0, |s| f64::from(s.weight));
        let link = self
            .observed
            .as_ref()
            .and_then(|o| o.link(&uplink.interface));
        UplinkSnapshot {
            name: uplink.name.clone(),
            interface: uplink.interface.clone(),
            family: FAMILY,
            health: state.health,
            reason: state.reason.clone(),
            since: state.since,
            in_service: self.service.uplinks.contains(&uplink.name),
            weight: member.map_or(0, |m| m.weight),
            share: if total > 0.0 { own / total } else { 0.0 },
            table: reserve.table_service(uplink.slot),
            mark: reserve.mark_out(uplink.slot),
            all_mark: reserve.mark_all(uplink.slot),
            gateway: state
                .link
                .usable()
                .and_then(|u| u.gateway)
                .or(state.gateway),
            addresses: link
                .map(|l| l.addresses_of(FAMILY).collect())
                .unwrap_or_default(),
            carrier: link.map(|l| l.carrier),
            targets: (0..state.targets.len())
                .map(|n| {
                    self.target_snapshot(TargetKey {
                        uplink: index,
                        target: n,
                    })
                })
                .collect(),
        }
    }

    fn target_snapshot(&self, key: TargetKey) -> TargetSnapshot {
        let spec = &self.config.uplinks[key.uplink].probe;
        let target: Target = spec.targets[key.target];
        let state = &self.uplinks[key.uplink].targets[key.target];
        let (sent, lost) = state.counts();
        TargetSnapshot {
            target,
            address: self.address_of(key),
            verdict: state.verdict(),
            decides: spec.decides(target),
            last_rtt: state.last_rtt(),
            loss: state.loss(),
            sent,
            lost,
        }
    }
}

impl Controller {
    /// The uplinks in service.
    pub(crate) fn in_service(&self) -> &std::collections::BTreeSet<uplinkd_model::UplinkName> {
        &self.service.uplinks
    }

    /// Whether an address is one of this machine's.
    pub fn has_address(&self, address: std::net::IpAddr) -> bool {
        let links = self.observed.iter().flat_map(|o| o.links.values());
        links
            .flat_map(|l| &l.addresses)
            .any(|a| a.addr() == address)
    }

    /// The first address of an uplink's interface, which masquerading uses.
    pub(crate) fn first_address(
        &self,
        name: &uplinkd_model::UplinkName,
    ) -> Option<std::net::IpAddr> {
        let uplink = self.config.uplink(name)?;
        let link = self.observed.as_ref()?.link(&uplink.interface)?;
        link.addresses_of(FAMILY).next().map(|a| a.addr())
    }

    /// The rules that should be there, in the order in which they are asked.
    pub(crate) fn rules(&self) -> Vec<uplinkd_model::Rule> {
        let wanted = self.observed.as_ref().map(|o| self.desired(o));
        wanted.unwrap_or_default().rules.into_iter().collect()
    }
}
