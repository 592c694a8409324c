//! A look at the kernel: dumps to [`Observed`].
//!
//! The kernel is asked only for what matters, so that a look stays cheap beside 100,000 routes of
//! others: our routes by their protocol, routes in our tables by table, those of others by uplink
//! interface. Each of these filters is applied by the kernel (strict checking).

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv6Addr,
};

use ipnet::IpNet;
use nix::libc;
use uplinkd_model::{
    Family, Link, Nexthop, NexthopId, NexthopKind, Observed, PrefixFacts, Reserve, Route, Rule,
    Slot, TableId,
    ids::Proto,
    kernel_state::{ForeignDefault, NftState, RuleAction},
    prefix::SourcedDefault,
};

use crate::{
    Kernel, cgroup,
    decode::{self, Hops, Names, Way},
    netlink::{Frame, KernelError, Message, Reply},
    prefixes, sysctl, table_names,
    wire::{fixed, link as ifla, message, route as rt},
};

/// Both families, where something is kept per family.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// How many tables of outlets are looked into although no rule leads there and no route of ours is
/// in them. A stranger's route in a later one is seen once a rule of ours leads to it.
const OUTLET_TABLES_SEARCHED: u16 = 16;
/// Likewise for tables of uplinks; the default mark mask has room for as many.
const SLOTS_SEARCHED_MAX: u16 = 15;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What we claim, and what earlier configurations claimed; the current one first. A route counts
    /// when its protocol is one of theirs or its table lies in one of their ranges.
    pub reserve: Vec<Reserve>,
    /// Interfaces, as the file names them, whose default routes, kept by others, are of interest.
    pub uplink_interfaces: Vec<String>,
    /// Whether to read our nft table, which costs a few milliseconds.
    pub nft: bool,
    /// Sysctls to read, by path below `/proc/sys`.
    pub sysctls: Vec<String>,
    /// Whether to read our file of table names.
    pub table_names: bool,
    /// Control groups to look for, by path below the root of their hierarchy.
    pub cgroups: Vec<String>,
}

/// Why a look failed. Nothing is known then: an incomplete picture would read as deletions.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The kernel refused a dump.
    #[error("cannot list {what}")]
    List {
        /// Of what.
        what: &'static str,
        /// The reason.
        #[source]
        source: KernelError,
    },
    /// The file of table names could not be read.
    #[error("cannot read the names of our routing tables")]
    TableNames(#[source] io::Error),
}

impl Kernel {
    /// Looks at everything of interest.
    ///
    /// # Errors
    /// When any part of it cannot be read.
    pub fn observe(&mut self, want: &Look) -> Result<Observed, ObserveError> {
        let mut links = self.links()?;
        let names: Names = links
            .iter()
            .map(|(index, link)| (*index, link.device.name.clone()))
            .collect();
        let of_addresses = self.addresses(&mut links)?;
        let nexthops = self.nexthops(&names)?;
        let rules = self.rules()?;
        let routes = self.routes(&want.reserve, &rules, &names)?;
        let foreign = self.foreign_routes(want, &links, &nexthops)?;
        let prefixes = PrefixFacts {
            sourced: foreign.sourced.into_iter().collect(),
            refused: self.refused_prefixes(&want.reserve)?,
            deprecated: of_addresses.deprecated,
        };
        let nft = match want.reserve.first() {
            Some(reserve) if want.nft => {
                // Routing must not wait for a program that cannot be run: putting the table again
                // will fail likewise, say why, and be tried later.
                let state = self.nft_state(&reserve.nft_table);
                Some(state.unwrap_or_else(|error| NftState::Altered {
                    found: format!("cannot be read: {error}"),
                }))
            }
            Some(_) | None => None,
        };
        let nft_earlier = self.earlier_nft_tables(want);
        let table_names = if want.table_names {
            table_names::read(&self.iproute2_dir).map_err(ObserveError::TableNames)?
        } else {
            BTreeMap::new()
        };
        Ok(Observed {
            links,
            foreign_defaults: foreign.defaults,
            on_link: foreign.on_link,
            link_local: of_addresses.link_local,
            prefixes,
            nexthops,
            routes,
            rules,
            nft,
            nft_earlier,
            sysctls: sysctl::read_all(&want.sysctls),
            table_names,
            cgroups: cgroup::find(&want.cgroups),
        })
    }

    /// Tables under names that only earlier configurations claim. What is in them does not matter.
    fn earlier_nft_tables(&mut self, want: &Look) -> BTreeSet<String> {
        let Some((now, earlier)) = want.reserve.split_first().filter(|_| want.nft) else {
            return BTreeSet::new();
        };
        let names: BTreeSet<_> = earlier.iter().map(|r| &r.nft_table).collect();
        names
            .into_iter()
            .filter(|name| **name != now.nft_table && self.has_nft_table(name))
            .cloned()
            .collect()
    }

    /// All interfaces by index, without addresses.
    fn links(&mut self) -> Result<BTreeMap<u32, Link>, ObserveError> {
        let message = Message::new(message::GET_LINK, 0, &[0; fixed::LINK])
            .u32(ifla::EXT_MASK, ifla::SKIP_STATS);
        let replies = self.list("interfaces", message)?;
        let links = replies.iter().filter_map(|r| decode::link(&r.body));
        Ok(links.map(|l| (l.device.index, l)).collect())
    }

    /// Adds the links' addresses, and says what else there is to know of addresses.
    fn addresses(&mut self, links: &mut BTreeMap<u32, Link>) -> Result<OfAddresses, ObserveError> {
        let mut found = OfAddresses::default();
        let message = Message::new(message::GET_ADDRESS, 0, &[0; fixed::ADDRESS]);
        for reply in self.list("addresses", message)? {
            found.deprecated.extend(prefixes::deprecated(&reply.body));
            found.link_local.extend(decode::link_local(&reply.body));
            if let Some((index, address)) = decode::address(&reply.body)
                && let Some(link) = links.get_mut(&index)
            {
                link.addresses.push(address);
            }
        }
        for link in links.values_mut() {
            link.addresses.sort_unstable();
        }
        Ok(found)
    }

    fn nexthops(&mut self, names: &Names) -> Result<BTreeMap<NexthopId, Nexthop>, ObserveError> {
        let message = Message::new(message::GET_NEXTHOP, 0, &[0; fixed::NEXTHOP]);
        let replies = self.list("nexthops", message)?;
        let nexthops = replies
            .iter()
            .filter_map(|r| decode::nexthop(&r.body, names));
        Ok(nexthops.map(|n| (n.id, n)).collect())
    }

    /// All rules of both families, in the order in which the kernel asks them.
    pub(crate) fn rules(&mut self) -> Result<Vec<Rule>, ObserveError> {
        let mut rules = Vec::new();
        for family in FAMILIES {
            let mut header = [0; fixed::ROUTE];
            header[0] = family.number();
            let replies = self.list("rules", Message::new(message::GET_RULE, 0, &header))?;
            rules.extend(replies.iter().filter_map(|r| decode::rule(&r.body)));
        }
        Ok(rules)
    }

    /// Routes with a protocol of ours, wherever they are, and routes of anybody in our tables.
    fn routes(
        &mut self,
        reserve: &[Reserve],
        rules: &[Rule],
        names: &Names,
    ) -> Result<BTreeSet<Route>, ObserveError> {
        let mut routes = BTreeSet::new();
        let protos: BTreeSet<_> = reserve.iter().map(|r| r.proto).collect();
        for family in FAMILIES {
            for proto in &protos {
                let replies = self.list("routes", get_routes(family, *proto, 0))?;
                routes.extend(replies.iter().filter_map(|r| decode::route(&r.body, names)));
            }
        }
        for table in tables_of_interest(reserve, rules, &routes) {
            for family in FAMILIES {
                for reply in self.routes_in(family, table)? {
                    routes.extend(decode::route(&reply.body, names));
                }
            }
        }
        Ok(routes)
    }

    /// Everything in one table of one family.
    pub(crate) fn routes_in(
        &mut self,
        family: Family,
        table: TableId,
    ) -> Result<Vec<Reply>, ObserveError> {
        let message = get_routes(family, Proto(0), 0).u32(rt::TABLE, table.0);
        self.list_in_table(message, |_| true)
    }

    /// Lists what a table holds. To the kernel a table without routes does not exist.
    pub(crate) fn list_in_table(
        &mut self,
        message: Message,
        wanted: impl Fn(&Frame<'_>) -> bool,
    ) -> Result<Vec<Reply>, ObserveError> {
        match self.route.dump_matching(message, wanted) {
            Err(e) if e.errno == libc::ENOENT => Ok(Vec::new()),
            other => other.map_err(|source| ObserveError::List {
                what: "routes",
                source,
            }),
        }
    }

    /// What routes of others say about each uplink interface. The kernel is asked by interface and not
    /// by table, since it would walk through the large one, `main`, in any case.
    fn foreign_routes(
        &mut self,
        want: &Look,
        links: &BTreeMap<u32, Link>,
        nexthops: &BTreeMap<NexthopId, Nexthop>,
    ) -> Result<Foreign, ObserveError> {
        let indices = indices(&want.uplink_interfaces, links);
        let is_of_interest = |frame: &Frame<'_>| {
            decode::route_outline(frame.body).is_some_and(|o| {
                let is_on_link = o.is_on_link && o.table == TableId::MAIN;
                let is_ours = want.reserve.iter().any(|r| r.proto == o.proto);
                (o.prefix_length == 0 || is_on_link) && !is_ours
            })
        };
        let mut found = Foreign::default();
        for (family, index) in FAMILIES
            .into_iter()
            .flat_map(|f| indices.iter().map(move |i| (f, *i)))
        {
            let message = get_routes(family, Proto(0), rt::UNICAST).u32(rt::OIF, index);
            for reply in self.list_in_table(message, is_of_interest)? {
                found.take(&reply.body, index, nexthops);
            }
        }
        Ok(found)
    }

    fn list(&mut self, what: &'static str, message: Message) -> Result<Vec<Reply>, ObserveError> {
        self.route
            .dump(message)
            .map_err(|source| ObserveError::List { what, source })
    }
}

/// The interfaces that the file may mean by these names.
fn indices(names: &[String], links: &BTreeMap<u32, Link>) -> Vec<u32> {
    let is_meant = |l: &&Link| names.iter().any(|name| l.is_called(name));
    let meant = links.values().filter(is_meant);
    meant.map(|l| l.device.index).collect()
}

/// A request for the routes of a family, filtered by protocol and type where these are not zero.
pub(crate) fn get_routes(family: Family, proto: Proto, route_type: u8) -> Message {
    let mut header = [0; fixed::ROUTE];
    header[0] = family.number();
    header[5] = proto.0;
    header[7] = route_type;
    Message::new(message::GET_ROUTE, 0, &header)
}

/// Our tables in which something may be: those that rules lead to, those with routes of ours, and
/// those that the next plan is likely to use.
fn tables_of_interest(
    reserve: &[Reserve],
    rules: &[Rule],
    routes: &BTreeSet<Route>,
) -> BTreeSet<TableId> {
    let by_rules = rules.iter().filter_map(|r| match r.action {
        RuleAction::Lookup(table) => Some(table),
        RuleAction::Prohibit | RuleAction::Other => None,
    });
    let by_routes = routes.iter().map(|r| r.table);
    let planned = reserve.iter().flat_map(|r| {
        let slots = (1..=r.slot_max().min(SLOTS_SEARCHED_MAX)).map(Slot);
        slots
            .flat_map(|s| [r.table_service(s), r.table_path(s)])
            .chain((0..OUTLET_TABLES_SEARCHED).map(|g| r.table_outlet(g)))
    });
    by_rules
        .chain(by_routes)
        .chain(planned)
        .filter(|t| reserve.iter().any(|r| r.has_table(*t)))
        .collect()
}

/// What addresses say that is no property of one link.
#[derive(Debug, Default)]
struct OfAddresses {
    /// Those that nothing new should use.
    deprecated: BTreeSet<(u32, Ipv6Addr)>,
    /// The interfaces that have a link-local one.
    link_local: BTreeSet<u32>,
}

/// What routes of others say about uplink interfaces.
#[derive(Debug, Default)]
struct Foreign {
    defaults: Vec<ForeignDefault>,
    /// Default routes for one source prefix.
    sourced: BTreeSet<SourcedDefault>,
    on_link: BTreeMap<u32, BTreeSet<IpNet>>,
}

impl Foreign {
    /// Takes a route that was listed for an interface.
    fn take(&mut self, body: &[u8], index: u32, nexthops: &BTreeMap<NexthopId, Nexthop>) {
        let Some(outline) = decode::route_outline(body) else {
            return;
        };
        if outline.prefix_length > 0 {
            let network = decode::destination(body, &outline);
            self.on_link.entry(index).or_default().extend(network);
            return;
        }
        if outline.table == TableId::MAIN {
            self.sourced.extend(prefixes::sourced_default(body));
        }
        let Some((metric, hops)) = decode::default_hops(body) else {
            return;
        };
        let expires_in = decode::expires_in(body);
        if expires_in.is_some_and(|left| left.is_zero()) {
            return;
        }
        // A route over several interfaces is listed for each of them.
        let ways = ways(hops, nexthops).into_iter();
        let ways = ways.filter(|way| way.index == index);
        self.defaults.extend(ways.map(|way| ForeignDefault {
            ifindex: index,
            gateway: way.gateway,
            family: outline.family,
            table: outline.table,
            metric,
            on_link: way.on_link,
            advertised: outline.proto == Proto(rt::PROTO_RA),
            expires_in,
        }));
    }
}

/// Where a default route leads. An object is followed through one level of group, which is all that
/// the kernel allows.
fn ways(hops: Hops, nexthops: &BTreeMap<NexthopId, Nexthop>) -> Vec<Way> {
    let single = |id: &NexthopId| match &nexthops.get(id)?.kind {
        NexthopKind::Single {
            device,
            gateway,
            on_link,
            ..
        } => Some(Way {
            index: device.index,
            gateway: *gateway,
            on_link: *on_link,
        }),
        NexthopKind::Group(_) | NexthopKind::Other => None,
    };
    match hops {
        Hops::Ways(ways) => ways,
        Hops::Object(id) => match nexthops.get(&id).map(|n| &n.kind) {
            Some(NexthopKind::Group(members)) => {
                members.iter().filter_map(|(id, _)| single(id)).collect()
            }
            Some(NexthopKind::Single { .. } | NexthopKind::Other) | None => {
                single(&id).into_iter().collect()
            }
        },
    }
}
