//! A new configuration in a running controller.

use std::collections::BTreeSet;

use uplinkd_model::{Config, notice::Notice};

use super::{Controller, UplinkState};
use crate::{Time, probe::TargetState};

impl Controller {
    /// Uplinks that keep name and interface keep what is known of them; the connections of those that
    /// are gone will be released.
    pub(super) fn take_config(&mut self, config: Config, now: Time) {
        let old = std::mem::replace(&mut self.config, config);
        let mut states: Vec<_> = old
            .uplinks
            .iter()
            .zip(std::mem::take(&mut self.uplinks))
            .collect();
        self.schedule = std::mem::take(&mut self.schedule).emptied();
        for uplink in &self.config.uplinks {
            let known = states
                .iter()
                .position(|(u, _)| u.name == uplink.name && u.interface == uplink.interface);
            self.uplinks
                .push(match known.map(|position| states.swap_remove(position)) {
                    Some((before, state)) => {
                        let targets = if before.probe.targets == uplink.probe.targets {
                            state.targets
                        } else {
                            vec![TargetState::default(); uplink.probe.targets.len()]
                        };
                        UplinkState { targets, ..state }
                    }
                    None => UplinkState::new(uplink, now),
                });
        }
        let names: BTreeSet<_> = self.config.uplinks.iter().map(|u| u.name.clone()).collect();
        self.service.uplinks.retain(|name| names.contains(name));
        let gone = states
            .iter()
            .filter(|(uplink, _)| !names.contains(&uplink.name));
        self.departed
            .extend(gone.map(|(uplink, _)| old.reserve.mark_all(uplink.slot)));
        if self.config.reserve != old.reserve {
            self.claims.retain(|r| *r != self.config.reserve);
            self.claims.insert(0, self.config.reserve.clone());
        }
        self.settle.because(|| "the file changed".to_owned());
        self.notify(Notice::Reloaded);
        self.take_facts(now);
        self.look_now(now, true);
    }
}
