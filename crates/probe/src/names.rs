//! Names of hosts, looked up over the very line that is tested.
//!
//! What was found is kept for its lifetime. After that it still serves while it is looked up again,
//! and for as long as the resolvers are silent: a dead resolver is no dead line.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};
use uplinkd_model::{Family, Host, UplinkName, target::Query};

use crate::{
    dns::{failure, message::Wanted, over_udp},
    line::Line,
    resolvers,
    service::Shared,
};

/// Resolvers that are asked at once.
const SERVERS_MAX: usize = 3;
/// Names that are kept. There is one for each target and line; where there are more, all are
/// forgotten and looked up again.
const NAMES_MAX: usize = 4096;
/// However short a lifetime is, a name is not looked up more often.
const LIFETIME_LEAST: Duration = Duration::from_secs(5);
/// However long it is, it is looked up again.
const LIFETIME_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long silent resolvers are left alone where an old answer serves.
const AGAIN: Duration = Duration::from_secs(10);
/// How long resolvers may take where nobody waits for them.
const LEISURE: Duration = Duration::from_secs(5);

type Key = (UplinkName, Family, String);

/// The names that are known.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: RefCell<BTreeMap<Key, Known>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    address: IpAddr,
    until: Instant,
}

/// What resolvers said.
enum Found {
    /// The addresses of a name, at least one.
    Addresses(Vec<IpAddr>, Duration),
    /// That there are none, and why.
    Nothing(String),
    /// None of them spoke.
    Silence(String),
}

impl Names {
    /// The address of a host in the family of a line.
    pub(crate) async fn address(
        &self,
        shared: &Rc<Shared>,
        line: &Line,
        host: &Host,
        patience: Duration,
    ) -> Result<IpAddr, String> {
        let name = match host {
            Host::Address(address) => return Ok(*address),
            Host::Name(name) => name,
        };
        let key = (line.uplink.clone(), line.family, name.clone());
        if let Some(address) = self.remembered(shared, line, &key) {
            return Ok(address);
        }
        let found = look_up(shared, line, name, patience).await;
        self.note(key, &found);
        match found {
            Found::Addresses(addresses, _) => Ok(addresses[0]),
            Found::Nothing(why) | Found::Silence(why) => Err(why),
        }
    }

    /// What is known, also where its time is over; then it is looked up again meanwhile.
    fn remembered(&self, shared: &Rc<Shared>, line: &Line, key: &Key) -> Option<IpAddr> {
        let now = Instant::now();
        let mut known = self.known.borrow_mut();
        let entry = known.get_mut(key)?;
        if entry.until <= now {
            // Nobody else begins while this is under way.
            entry.until = now + AGAIN;
            let (shared, line, key) = (Rc::clone(shared), line.clone(), key.clone());
            tokio::task::spawn_local(async move {
                let found = look_up(&shared, &line, &key.2, LEISURE).await;
                shared.names.note(key, &found);
            });
        }
        Some(entry.address)
    }

    fn note(&self, key: Key, found: &Found) {
        let mut known = self.known.borrow_mut();
        match found {
            Found::Addresses(addresses, lifetime) => {
                // Servers give them in another order each time; one that still counts is kept, so
                // that round-trip times can be compared.
                let old = known.get(&key).map(|k| k.address);
                let address = old
                    .filter(|a| addresses.contains(a))
                    .unwrap_or(addresses[0]);
                let until = Instant::now() + (*lifetime).clamp(LIFETIME_LEAST, LIFETIME_MOST);
                if known.len() >= NAMES_MAX {
                    known.clear();
                }
                known.insert(key, Known { address, until });
            }
            Found::Nothing(_) => {
                known.remove(&key);
            }
            Found::Silence(_) => {}
        }
    }
}

async fn look_up(shared: &Shared, line: &Line, name: &str, patience: Duration) -> Found {
    let resolvers = resolvers::for_names(line);
    if resolvers.servers.is_empty() {
        return Found::Silence(format!("cannot look up {name}: {}", resolvers.lack()));
    }
    let servers = &resolvers.servers[..resolvers.servers.len().min(SERVERS_MAX)];
    let mut queries = JoinSet::new();
    for server in servers {
        let (line, name, id) = (line.clone(), name.to_owned(), shared.luck.number());
        let server = SocketAddr::new(*server, Query::PORT);
        queries.spawn_local(async move {
            let wanted = Wanted {
                id,
                name: &name,
                family: line.family,
            };
            over_udp(&line.towards(server.ip()), server, wanted).await
        });
    }
    let mut refusal = None;
    let listen = async {
        while let Some(said) = queries.join_next().await {
            let response = match said {
                Ok(Ok(response)) => response,
                Ok(Err(why)) => {
                    refusal.get_or_insert(why);
                    continue;
                }
                Err(_) => continue,
            };
            if !response.addresses.is_empty() {
                return Found::Addresses(response.addresses, response.ttl);
            }
            match failure(&response) {
                Ok(()) => {
                    return Found::Nothing(format!("{name} has no {} address", line.family));
                }
                // NXDOMAIN is an answer; from others another resolver may know more.
                Err(why) if response.code == 3 => {
                    return Found::Nothing(format!("{name}: {why}"));
                }
                Err(why) => {
                    refusal.get_or_insert(why);
                }
            }
        }
        Found::Silence(String::new())
    };
    match timeout(patience, listen).await {
        Ok(found @ (Found::Addresses(..) | Found::Nothing(_))) => found,
        Ok(Found::Silence(_)) | Err(_) => {
            let asked: Vec<_> = servers.iter().map(ToString::to_string).collect();
            let why = refusal.unwrap_or_else(|| "no answer".to_owned());
            let asked = asked.join(", ");
            Found::Silence(format!("cannot look up {name} at {asked}: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        let uplink = UplinkName::new("isp1").unwrap();
        (uplink, Family::V4, "a.example".to_owned())
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn found(lasts: &[u8]) -> Found {
        let addresses = lasts.iter().map(|n| address(*n)).collect();
        Found::Addresses(addresses, Duration::ZERO)
    }

    fn known(names: &Names) -> Option<IpAddr> {
        names.known.borrow().get(&key()).map(|k| k.address)
    }

    #[test]
    fn an_address_is_kept_while_it_is_among_the_answers_and_while_nobody_speaks() {
        let names = Names::default();
        names.note(key(), &found(&[1, 2]));
        names.note(key(), &found(&[2, 1]));
        assert_eq!(known(&names), Some(address(1)));
        names.note(key(), &Found::Silence(String::new()));
        assert_eq!(known(&names), Some(address(1)));
        names.note(key(), &found(&[2, 3]));
        assert_eq!(known(&names), Some(address(2)));
        names.note(key(), &Found::Nothing(String::new()));
        assert_eq!(known(&names), None);
    }

    #[test]
    fn a_lifetime_is_neither_nothing_nor_for_ever() {
        let names = Names::default();
        let now = Instant::now();
        names.note(key(), &found(&[1]));
        let until = names.known.borrow()[&key()].until;
        assert!(until >= now + LIFETIME_LEAST);
        let long = Found::Addresses(vec![address(1)], Duration::from_secs(u32::MAX.into()));
        names.note(key(), &long);
        let until = names.known.borrow()[&key()].until;
        assert!(until <= Instant::now() + LIFETIME_MOST);
    }
}
