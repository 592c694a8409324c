//! What others do to objects of ours.

use uplinkd_model::{
    Family, Nexthop, NexthopId, NexthopKind, Route, RouteVia, Rule, TableId, kernel_state::Device,
};

use super::World;
use crate::{faults::Rival, kernel::Nft};

impl World {
    pub(super) fn tamper(&mut self, deed: Rival) {
        let reserve = self.scenario.config.reserve.clone();
        let nth = |n: u16, count: usize| usize::from(n) % count.max(1);
        let kernel = &mut self.kernel;
        let our_rules: Vec<Rule> = kernel
            .rules()
            .iter()
            .filter(|r| kernel.is_our_rule(r))
            .cloned()
            .collect();
        let lan = Device {
            index: 2,
            name: crate::scenario::LAN.into(),
        };
        match deed {
            Rival::Rule(n) => {
                if let Some(rule) = our_rules.get(nth(n, our_rules.len())) {
                    kernel.drop_rule(rule);
                }
            }
            Rival::Rules => our_rules.iter().for_each(|r| {
                kernel.drop_rule(r);
            }),
            Rival::RuleTwice(n) => {
                if let Some(rule) = our_rules.get(nth(n, our_rules.len())) {
                    kernel.put_rule(rule.clone());
                }
            }
            Rival::RuleOrphan => {
                let priority = reserve.rule_priority + 55;
                let mark = Some(uplinkd_model::Mark::new(5, 0xff));
                let rule = Rule::lookup(Family::V4, priority, TableId(100), reserve.proto);
                kernel.put_rule(Rule { mark, ..rule });
            }
            Rival::Route(n) => {
                let ours: Vec<_> = kernel
                    .routes()
                    .filter(|r| kernel.is_our_route(r))
                    .map(Route::key)
                    .collect();
                if let Some(key) = ours.get(nth(n, ours.len())) {
                    kernel.drop_route(key, true);
                }
            }
            Rival::RouteOrphan => kernel.put_route(Route {
                table: TableId(reserve.tables + 0x3000),
                destination: Family::V4.default_route(),
                metric: 3,
                via: RouteVia::Device {
                    device: lan,
                    gateway: None,
                },
                source: None,
                proto: reserve.proto,
            }),
            Rival::Nexthop(n) => {
                let ours: Vec<_> = kernel
                    .nexthops()
                    .values()
                    .filter(|n| kernel.is_our_nexthop(n))
                    .map(|n| n.id)
                    .collect();
                if let Some(id) = ours.get(nth(n, ours.len())) {
                    kernel.drop_nexthop(*id, true);
                }
            }
            Rival::NexthopOrphan => kernel.put_nexthop(Nexthop {
                id: NexthopId(reserve.nexthop_ids + 0x2f00),
                proto: reserve.proto,
                kind: NexthopKind::Single {
                    family: Family::V4,
                    device: lan,
                    gateway: None,
                    on_link: false,
                },
            }),
            Rival::Nft => kernel.set_nft(Nft::Absent),
            Rival::NftAltered => {
                if kernel.nft().is_some() {
                    kernel.set_nft(Nft::Altered);
                }
            }
            Rival::Sysctl => kernel.set_sysctl("net/ipv4/ip_forward", "0"),
            Rival::Names => kernel.set_table_names(Default::default()),
        }
    }
}
