//! The router that a history is played on: the file's uplinks as far as the history knows them, on a
//! machine on paper, and which recorded target answers for which target of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use uplinkd_model::{
    Access, Config, Family, Gateway, Link, Nat, Observed, ProbeSpec, TableId, Target,
    kernel_state::{Device, ForeignDefault, NftState},
    prefix::PrefixSource,
};

use super::{
    file::Tried,
    survey::{LineId, Survey, is_gateway},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Everything that a player needs besides the trace.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) machine: Observed,
    /// The recorded target that answers for a target of the file.
    pub(crate) series: BTreeMap<(LineId, String), String>,
    /// Where the file does not quite fit the history.
    pub(crate) notes: Vec<String>,
}

impl Site {
    /// Says in words why it is impossible, where it is.
    pub(crate) fn new(tried: &Tried, survey: &Survey) -> Result<Self, String> {
        let mut site = Self {
            config: tried.config.clone(),
            machine: Observed {
                nft: Some(NftState::Absent),
                ..Observed::default()
            },
            series: BTreeMap::new(),
            notes: Vec::new(),
        };
        // Who serves does not depend on where policies lead.
        site.config.policies.clear();
        site.config.lan.clear();
        site.config.deprecate = false;
        let mut config = site.config.clone();
        for (index, uplink) in (1_u8..).zip(&mut config.uplinks) {
            let name = uplink.name.to_string();
            uplink.interface = format!("uplink{index}");
            let mut link = link(index, &uplink.interface);
            for family in FAMILIES {
                let line = (name.clone(), family);
                let access = match family {
                    Family::V4 => &mut uplink.ipv4,
                    Family::V6 => &mut uplink.ipv6,
                };
                let is_known = survey.lines.get(&line).is_some_and(|l| l.samples > 0);
                match access {
                    Some(access) if is_known => {
                        site.take_targets(&line, access, survey);
                        site.lay(family, index, &mut link);
                    }
                    _ => *access = None,
                }
            }
            if link.addresses.is_empty() {
                let note = format!("the history has nothing of uplink {name}: it never serves");
                site.notes.push(note);
            }
            site.machine.links.insert(u32::from(index), link);
        }
        site.config = config;
        site.note_strangers(&tried.config, survey);
        if site.machine.links.values().all(|l| l.addresses.is_empty()) {
            let of = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
            let history = survey.lines.keys().map(|(name, _)| name.as_str()).collect();
            let file = tried
                .config
                .uplinks
                .iter()
                .map(|u| u.name.as_str())
                .collect();
            return Err(format!(
                "no uplink of {} is in the history: that has {}, the file {}",
                tried.name,
                of(history),
                of(file)
            ));
        }
        Ok(site)
    }

    fn note_strangers(&mut self, config: &Config, survey: &Survey) {
        for ((name, family), line) in &survey.lines {
            let uplink = config.uplinks.iter().find(|u| u.name.as_str() == name);
            if line.samples > 0 && uplink.and_then(|u| u.access(*family)).is_none() {
                let note = format!(
                    "the file has no {family} of uplink `{name}`: its samples are left out"
                );
                self.notes.push(note);
            }
        }
    }

    /// Finds who answers for each target, and leaves those out for whom nobody can.
    fn take_targets(&mut self, line: &LineId, access: &mut Access, survey: &Survey) {
        access.expected = true;
        access.gateway = Gateway::Auto;
        access.nat = Nat::None;
        access.prefix = PrefixSource::default();
        let Some(surveyed) = survey.lines.get(line) else {
            return;
        };
        let recorded: Vec<_> = surveyed.targets.keys().cloned().collect();
        let bare = |label: &str| label.strip_prefix("icmp:").unwrap_or(label).to_owned();
        let exact = |label: &str| recorded.iter().find(|r| bare(r) == bare(label)).cloned();
        let spec = &mut access.probe;
        let labels: Vec<_> = spec.targets.iter().map(ToString::to_string).collect();
        let taken: BTreeSet<_> = labels.iter().filter_map(|l| exact(l)).collect();
        // Hosts that nobody asks by this file stand in for those that nobody has asked.
        let hosts = || recorded.iter().filter(|r| !is_gateway(r));
        let spare = hosts().filter(|r| !taken.contains(*r));
        let mut others = spare.chain(hosts().cycle());
        let mut kept = Vec::new();
        for (target, label) in std::mem::take(&mut spec.targets).into_iter().zip(labels) {
            let (name, family) = line;
            let known = exact(&label);
            let stand_in = || match is_gateway(&label) {
                true => None,
                // A history of the gateway alone is all that is known of the line.
                false => others.next().or(recorded.first()).cloned(),
            };
            let is_exact = known.is_some();
            let Some(answers) = known.or_else(stand_in) else {
                let note = format!("{name} ({family}): {label} was never asked, and is left out");
                self.notes.push(note);
                continue;
            };
            if !is_exact {
                self.notes.push(format!(
                    "{name} ({family}): {label} was never asked; {answers} answers for it"
                ));
            }
            self.series.insert((line.clone(), label), answers);
            kept.push(target);
        }
        spec.targets = kept;
        spec.quorum = spec.quorum.min(deciding(spec)).max(1);
    }

    /// Gives an uplink an address and a gateway of a family.
    fn lay(&mut self, family: Family, index: u8, link: &mut Link) {
        let (address, gateway) = match family {
            Family::V4 => ([100, 64, index, 2].into(), [100, 64, index, 1].into()),
            Family::V6 => {
                let host = |n| IpAddr::from([0x2001, 0xdb8, u16::from(index), 0, 0, 0, 0, n]);
                (host(2), host(1))
            }
        };
        let length = match family {
            Family::V4 => 24,
            Family::V6 => 64,
        };
        link.addresses
            .extend(ipnet::IpNet::new(address, length).ok());
        self.machine.foreign_defaults.push(ForeignDefault {
            ifindex: u32::from(index),
            gateway: Some(gateway),
            family,
            table: TableId::MAIN,
            metric: u32::from(index),
            on_link: false,
            advertised: false,
            expires_in: None,
        });
    }
}

fn deciding(spec: &ProbeSpec) -> usize {
    let gateways = spec.targets.iter().filter(|t| **t == Target::Gateway);
    match spec.targets.len() - gateways.count() {
        0 => spec.targets.len(),
        hosts => hosts,
    }
}

fn link(index: u8, name: &str) -> Link {
    Link {
        device: Device {
            index: u32::from(index),
            name: name.to_owned(),
        },
        alternative_names: BTreeSet::new(),
        point_to_point: false,
        admin_up: true,
        carrier: true,
        addresses: Vec::new(),
    }
}
