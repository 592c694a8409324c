//! From configuration, service and facts to everything of ours that the kernel should hold.
//!
//! The layout is explained in `docs/ARCHITECTURE.md`. Each function here makes one kind of object;
//! nothing here looks at what the kernel already has, except where a sysctl is good enough as it is.

mod nat;
mod routes;
mod rules;
mod sysctls;

use std::collections::{BTreeMap, BTreeSet};

use uplinkd_model::{Config, Desired, Observed, TableId, UplinkName};

pub use sysctls::sysctl_paths;

use crate::facts::LinkState;

/// What the desired state is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) config: &'a Config,
    /// Link states, in the order of the configuration's uplinks.
    pub(crate) links: &'a [LinkState],
    /// The uplinks in service.
    pub(crate) service: &'a BTreeSet<UplinkName>,
    pub(crate) observed: &'a Observed,
}

/// The whole desired state.
pub(crate) fn desired(inputs: &Inputs<'_>) -> Desired {
    Desired {
        nexthops: routes::nexthops(inputs),
        routes: routes::routes(inputs),
        rules: rules::rules(inputs),
        nft: Some(nat::table(inputs)),
        sysctls: sysctls::sysctls(inputs.config, inputs.observed),
        table_names: table_names(inputs.config),
    }
}

/// The names by which `ip` knows our tables: an uplink's own for the table in use, with `.path` for
/// the one that leads out by it whatever its health, and `.group` behind a group's name. No uplink
/// can be called either, since a dot is not allowed in an uplink's name.
fn table_names(config: &Config) -> BTreeMap<TableId, String> {
    let reserve = &config.reserve;
    let mut names = BTreeMap::new();
    for uplink in &config.uplinks {
        names.insert(reserve.table_service(uplink.slot), uplink.name.to_string());
        names.insert(
            reserve.table_path(uplink.slot),
            format!("{}.path", uplink.name),
        );
    }
    for (index, group) in config.groups.iter().enumerate() {
        names.insert(reserve.table_group(index), format!("{}.group", group.name));
    }
    names
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use uplinkd_model::{Gateway, Group, Member, Nat, ProbeSpec, Reserve, Slot, Target, Uplink};

    use super::*;

    /// Two uplinks, isp1 and isp2, on wan1 and wan2, weights 3 and 2, probed every 100 ms.
    pub(crate) fn config() -> Config {
        let name = |n: u16| UplinkName::new(&format!("isp{n}")).unwrap();
        let uplink = |n: u16| Uplink {
            name: name(n),
            slot: Slot(n),
            interface: format!("wan{n}"),
            gateway: Gateway::Auto,
            nat: Nat::Masquerade,
            probe: ProbeSpec {
                targets: vec![Target::Gateway, Target::Icmp([198, 18, 0, 1].into())],
                quorum: 1,
                interval: Duration::from_millis(100),
                timeout: Duration::from_millis(100),
                fall: 3,
                rise: 5,
            },
        };
        let tier = vec![
            Member {
                uplink: name(1),
                weight: 3,
            },
            Member {
                uplink: name(2),
                weight: 2,
            },
        ];
        Config {
            lan: vec!["lan0".into()],
            uplinks: vec![uplink(1), uplink(2)],
            groups: vec![Group {
                name: Group::DEFAULT.into(),
                tiers: vec![tier],
            }],
            reserve: Reserve::default(),
        }
    }

    #[test]
    fn tables_are_known_by_the_uplinks_names() {
        let names = table_names(&config());
        assert_eq!(names[&TableId(7001)], "isp1");
        assert_eq!(names[&TableId(7002)], "isp2");
        assert_eq!(names.len(), 5);
    }
}
