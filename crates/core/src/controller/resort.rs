//! The last resort of the default group, while other uplinks serve: who began over it must not stay
//! pinned there when something better serves.

use uplinkd_model::{OutletKind, Step, UplinkName, policy::End};

use super::{Controller, serve::OwedMove};
use crate::{
    families::{FAMILIES, PerFamily},
    select::last_resort,
};

/// What new connections of outlets without a serving tier depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resort {
    /// Outlets, by code, that have no serving tier and lead on to the default group's last resort.
    users: Vec<u16>,
    /// Who carries it.
    members: Vec<UplinkName>,
    /// Policies leave something to `main`, which may lead out by a line that is out of service.
    has_main: bool,
}

impl Controller {
    /// Where the last resort gains or loses users or members, connections that began over it are
    /// marked by a line that is out of service. In the moments between the kernel's own change and
    /// ours they are new every time: they are released once more at the end of the next plan.
    pub(super) fn owe_resort(&mut self) {
        let after = PerFamily::from_fn(|family| self.resort(family));
        for family in FAMILIES {
            let (is, was) = (after.of(family), self.resort.of(family));
            let has_users = !is.users.is_empty() || !was.users.is_empty();
            let service = self.service.of(family);
            let step = |name: &UplinkName| {
                let uplink = self.config.uplink(name)?;
                let mark = self.config.reserve.mark_out(uplink.slot);
                Some(Step::MoveConnections { mark, family })
            };
            let spared: Vec<_> = service.uplinks.iter().filter_map(step).collect();
            let lines = self.lines.iter().filter(|l| l.family == family);
            let names = lines
                .filter(|l| !l.is_absent())
                .map(|l| &self.config.uplinks[l.uplink].name)
                .filter(|name| !service.uplinks.contains(*name));
            let owed: Vec<_> = names.filter_map(step).collect();
            self.moves.retain(|m| !spared.contains(&m.step));
            // Nobody else looks after what began by `main` once no policy leads there any more.
            let is_left = was.has_main && !is.has_main;
            let is_news = is != was && (has_users || is_left);
            if !is_news || service.last_resort || service.uplinks.is_empty() {
                continue;
            }
            for step in owed {
                if !self.moves.iter().any(|m| m.step == step) {
                    self.moves.push(OwedMove {
                        outlet: 0,
                        family,
                        step,
                        reason: "began over the last resort".to_owned(),
                    });
                }
            }
        }
        self.resort = after;
    }

    fn resort(&self, family: uplinkd_model::Family) -> Resort {
        let outlets = self.config.outlets.iter().zip(&self.serving);
        let users = outlets.filter(|(outlet, serving)| {
            let leads_on = outlet.outflow().is_some_and(|o| o.end != End::Block);
            leads_on && serving.of(family).tier.is_none()
        });
        let members = last_resort(&self.config, |name| self.is_usable(family, name));
        Resort {
            users: users.map(|(outlet, _)| outlet.code).collect(),
            members: members.into_iter().map(|share| share.uplink).collect(),
            has_main: self
                .config
                .outlets
                .iter()
                .any(|o| o.kind == OutletKind::Main),
        }
    }
}
