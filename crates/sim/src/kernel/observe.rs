//! Looks at the kernel, in parts: a real look is several dumps, between which things change.

use uplinkd_model::{
    NexthopKind, Observed, Route, RouteVia, TableId,
    kernel_state::{ForeignDefault, NftState},
};

use super::{Kernel, Nft};

/// How many parts a look has.
pub(crate) const LOOK_PARTS: usize = 3;

impl Kernel {
    /// Reads one part of a look, 0 to 2, into `observed`.
    pub fn observe_part(&self, part: usize, nft: bool, sysctls: &[String], into: &mut Observed) {
        match part {
            0 => into.links = self.links.clone(),
            1 => {
                into.nexthops = self.nexthops.clone();
                into.rules = self.rules.clone();
            }
            _ => {
                let routes = self.routes.values();
                let (proto, tables) = (self.reserve.proto, self.reserve.tables);
                let in_range = |t: TableId| t.0 >= tables && t.0 - tables < 65_536;
                into.routes = routes
                    .filter(|r| r.proto == proto || in_range(r.table))
                    .cloned()
                    .collect();
                into.foreign_defaults = self.foreign_defaults();
                into.prefixes = self.prefix_facts();
                into.nft = nft.then(|| match &self.nft {
                    Nft::Absent => NftState::Absent,
                    Nft::Holds(table) => NftState::Holds(table.fingerprint()),
                    Nft::Altered => NftState::Altered {
                        found: "a chain more".to_owned(),
                    },
                });
                into.sysctls = sysctls
                    .iter()
                    .filter_map(|path| Some((path.clone(), self.sysctls.get(path)?.clone())))
                    .collect();
                into.table_names = self.table_names.clone();
            }
        }
    }

    /// A whole look at one moment.
    pub fn observe(&self, nft: bool, sysctls: &[String]) -> Observed {
        let mut observed = Observed::default();
        for part in 0..LOOK_PARTS {
            self.observe_part(part, nft, sysctls, &mut observed);
        }
        observed
    }

    fn foreign_defaults(&self) -> Vec<ForeignDefault> {
        let way = |r: &Route| match &r.via {
            RouteVia::Device { device, gateway } => Some((device.index, *gateway, false)),
            RouteVia::Nexthop(id) => match &self.nexthops.get(id)?.kind {
                NexthopKind::Single {
                    device,
                    gateway,
                    on_link,
                    ..
                } => Some((device.index, *gateway, *on_link)),
                NexthopKind::Group(_) | NexthopKind::Other => None,
            },
            RouteVia::Prohibit | RouteVia::Other => None,
        };
        self.routes
            .values()
            .filter(|r| {
                r.table == TableId::MAIN
                    && r.destination.prefix_len() == 0
                    && r.proto != self.reserve.proto
            })
            .filter_map(|r| {
                let (ifindex, gateway, on_link) = way(r)?;
                Some(ForeignDefault {
                    ifindex,
                    gateway,
                    family: r.family(),
                    table: r.table,
                    metric: r.metric,
                    on_link,
                    advertised: false,
                    expires_in: None,
                })
            })
            .collect()
    }
}
