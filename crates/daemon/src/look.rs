//! Looking at the kernel, for every command alike.

use uplinkd_core::{cgroup_paths, desired::sysctl_paths};
use uplinkd_kernel::Look;
use uplinkd_model::{Config, Reserve};

/// What to look for: everything that `claims` cover, as far as `config` is concerned, whose uplinks
/// the file gives these `interfaces`.
pub fn look<'a>(
    config: &Config,
    interfaces: impl IntoIterator<Item = &'a String>,
    claims: &[Reserve],
    nft: bool,
) -> Look {
    Look {
        reserve: claims.to_vec(),
        uplink_interfaces: interfaces.into_iter().cloned().collect(),
        nft,
        sysctls: sysctl_paths(config),
        table_names: true,
        cgroups: cgroup_paths(config).into_iter().collect(),
    }
}
