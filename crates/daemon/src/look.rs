//! Looking at the kernel, for every command alike.

use uplinkd_core::{cgroup_paths, desired::sysctl_paths};
use uplinkd_kernel::Look;
use uplinkd_model::{Config, Reserve};

/// What to look for: everything that `claims` cover, as far as `config` is concerned.
pub fn look(config: &Config, claims: &[Reserve], nft: bool) -> Look {
    Look {
        reserve: claims.to_vec(),
        uplink_interfaces: config.uplinks.iter().map(|u| u.interface.clone()).collect(),
        nft,
        sysctls: sysctl_paths(config),
        table_names: true,
        cgroups: cgroup_paths(config).into_iter().collect(),
    }
}
