//! Which interfaces the file means: by their name, by an alternative name, or by a pattern such as
//! `ppp*`, since some lines come back under another name.
//!
//! Everything else goes by first names, as the kernel's rules, nft and sockets do. A name that nothing
//! bears any more stays what it was last, so that the line is known to be missing under that name.

use std::collections::BTreeSet;

use uplinkd_model::{Config, Observed};

use super::Controller;

/// The interfaces as the file names them.
#[derive(Debug)]
pub(super) struct Words {
    /// Of the uplinks, in their order.
    uplinks: Vec<String>,
    lan: Vec<String>,
}

impl Words {
    pub(super) fn of(config: &Config) -> Self {
        let uplinks = config.uplinks.iter().map(|u| u.interface.clone());
        Self {
            uplinks: uplinks.collect(),
            lan: config.lan.clone(),
        }
    }

    /// The interface of an uplink as the file names it.
    pub(super) fn uplink(&self, index: usize) -> &str {
        self.uplinks.get(index).map_or("", String::as_str)
    }

    /// Writes first names into the configuration, where they are known. Says of which uplinks another
    /// interface is meant now, by index.
    fn resolve(&self, observed: &Observed, config: &mut Config) -> Vec<usize> {
        // Who is named outright is taken, whatever a pattern before it would fit.
        let mut taken: BTreeSet<_> = self.uplinks.iter().chain(&self.lan).cloned().collect();
        let mut find = |word: &String| {
            taken.remove(word);
            let found = observed.link_called(word, &taken);
            let found = found.map(|link| link.device.name.clone());
            taken.insert(found.as_ref().unwrap_or(word).clone());
            found
        };
        let mut changed = Vec::new();
        for (index, (word, uplink)) in self.uplinks.iter().zip(&mut config.uplinks).enumerate() {
            let found = find(word).filter(|name| *name != uplink.interface);
            if let Some(name) = found {
                uplink.interface = name;
                changed.push(index);
            }
        }
        for (word, lan) in self.lan.iter().zip(&mut config.lan) {
            if let Some(name) = find(word) {
                *lan = name;
            }
        }
        changed
    }
}

/// The configuration with the interfaces' first names, as far as a look at the machine tells them.
pub fn with_first_names(config: &Config, observed: &Observed) -> Config {
    let mut config = config.clone();
    Words::of(&config).resolve(observed, &mut config);
    config
}

impl Controller {
    /// The uplinks' interfaces as the file names them.
    pub fn uplink_interfaces(&self) -> &[String] {
        &self.words.uplinks
    }

    /// Asks the last look which interfaces the file means.
    pub(super) fn resolve_interfaces(&mut self) {
        let Some(observed) = &self.observed else {
            return;
        };
        for index in self.words.resolve(observed, &mut self.config) {
            let uplink = &self.config.uplinks[index];
            let (name, interface) = (&uplink.name, &uplink.interface);
            self.settle
                .because(|| format!("the interface of uplink {name} is {interface} now"));
        }
    }

    /// Whether an interface that nobody knows yet may be one that the file means.
    pub(super) fn awaits_a_name(&self) -> bool {
        let Some(observed) = &self.observed else {
            return false;
        };
        let uplinks = self.config.uplinks.iter().map(|u| &u.interface);
        let mut names = uplinks.chain(&self.config.lan);
        names.any(|name| observed.link(name).is_none())
    }

    /// Whether an interface is known to be nobody's uplink and no part of the LAN.
    pub(super) fn is_bystander(&self, index: u32) -> bool {
        let link = self.observed.as_ref().and_then(|o| o.links.get(&index));
        link.is_some_and(|link| {
            let name = &link.device.name;
            let is_uplinks = self.config.uplinks.iter().any(|u| &u.interface == name);
            // Without `lan` all interfaces but the uplinks' are part of it.
            !is_uplinks && !self.config.lan.is_empty() && !self.config.lan.contains(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{config, machine};

    /// The uplinks' interfaces after a look at a machine whose first interface has another name.
    fn resolved(words: [&str; 2], first: &str, alternative: &str) -> (Vec<String>, Vec<usize>) {
        let mut observed = machine();
        let link = observed.links.get_mut(&1).unwrap();
        link.device.name = first.to_owned();
        link.alternative_names = BTreeSet::from([alternative.to_owned()]);
        let mut config = config();
        for (uplink, word) in config.uplinks.iter_mut().zip(words) {
            uplink.interface = word.to_owned();
        }
        let changed = Words::of(&config).resolve(&observed, &mut config);
        let interfaces = config.uplinks.iter().map(|u| u.interface.clone());
        (interfaces.collect(), changed)
    }

    #[test]
    fn an_alternative_name_or_a_pattern_leads_to_the_first_name() {
        for word in ["enp3s0", "ppp*", "ppp7"] {
            let (interfaces, changed) = resolved([word, "wan2"], "ppp7", "enp3s0");
            assert_eq!(interfaces, ["ppp7", "wan2"], "{word}");
            assert_eq!(changed.len(), usize::from(word != "ppp7"), "{word}");
        }
        for word in ["enp3s", "ppq*", "pp"] {
            let (interfaces, changed) = resolved([word, "wan2"], "ppp7", "enp3s0");
            assert_eq!((interfaces[0].as_str(), changed.len()), (word, 0));
        }
    }

    #[test]
    fn a_pattern_leaves_alone_whom_the_file_names() {
        let (interfaces, _) = resolved(["wan*", "wan2"], "ppp7", "x");
        assert_eq!(interfaces, ["wan*", "wan2"]);
        let (interfaces, _) = resolved(["w*", "wan1"], "wan1", "x");
        assert_eq!(interfaces, ["wan2", "wan1"]);
    }

    #[test]
    fn of_several_one_with_a_carrier_is_meant_and_then_the_oldest() {
        let mut observed = machine();
        let meant = |observed: &Observed| {
            let link = observed.link_called("wan*", &BTreeSet::new()).unwrap();
            link.device.name.clone()
        };
        assert_eq!(meant(&observed), "wan1");
        observed.links.get_mut(&1).unwrap().carrier = false;
        assert_eq!(meant(&observed), "wan2");
    }
}
