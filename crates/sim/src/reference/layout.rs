//! What the file says about each outlet, in terms of lines.

use uplinkd_core::PerFamily;
use uplinkd_model::{
    Config, Family, Outlet, OutletKind,
    policy::{Balance, End, Failback, Outflow, OutletTier},
};

use crate::net::Net;

/// An outlet in one family. Members are lines with their weights; uplinks that do not have the
/// family are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The code in the mark.
    pub code: u16,
    /// Its name.
    pub name: String,
    /// The group that it begins with.
    pub group: Option<String>,
    /// What it is.
    pub kind: LayoutKind,
    /// Its tiers, some perhaps empty in this family.
    pub tiers: Vec<Vec<(usize, u16)>>,
    /// Shares of some tier follow its lines, so that its weights are not those of the file.
    pub is_measured: bool,
    /// When it returns to a better tier.
    pub failback: Failback,
    /// Clients keep to an uplink.
    pub sticky: bool,
}

/// What an outlet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutKind {
    /// Uplinks, and this in the end.
    Uplinks(End),
    /// Nothing gets out.
    Block,
    /// The main table.
    Main,
}

impl Layout {
    /// Whether a line is in any tier.
    pub fn has(&self, line: usize) -> bool {
        self.tiers.iter().flatten().any(|(l, _)| *l == line)
    }

    /// Whether nothing may get out but by its own lines.
    pub fn is_strict(&self) -> bool {
        match self.kind {
            LayoutKind::Uplinks(end) => end == End::Block,
            LayoutKind::Block => true,
            LayoutKind::Main => false,
        }
    }

    /// Whether a tier has a line that fits.
    pub fn any(&self, tier: usize, fits: impl Fn(usize) -> bool) -> bool {
        self.tiers
            .get(tier)
            .is_some_and(|t| t.iter().any(|(line, _)| fits(*line)))
    }

    /// The lines that only tiers behind this one have.
    pub fn behind(&self, tier: usize) -> Vec<usize> {
        let (better, worse) = self.tiers.split_at((tier + 1).min(self.tiers.len()));
        let worse = worse.iter().flatten().map(|(line, _)| *line);
        let mut behind: Vec<_> = worse
            .filter(|line| !better.iter().flatten().any(|(l, _)| l == line))
            .collect();
        behind.sort_unstable();
        behind.dedup();
        behind
    }
}

/// All outlets of a configuration, in its order.
pub fn layouts(config: &Config, net: &Net) -> Vec<PerFamily<Layout>> {
    let of = |outlet| PerFamily::from_fn(|family| layout(net, outlet, family));
    config.outlets.iter().map(of).collect()
}

fn layout(net: &Net, outlet: &Outlet, family: Family) -> Layout {
    let outflow = outlet.outflow();
    let line = |name| net.line_named(name, family);
    let tiers = outflow.map(|o: &Outflow| &o.tiers).into_iter().flatten();
    let is_measured = |tier: &OutletTier| {
        let is_auto = tier.members.iter().any(|m| m.is_auto);
        is_auto || tier.conduct.balance != Balance::Weights
    };
    Layout {
        code: outlet.code,
        name: outlet.name.clone(),
        group: outflow.and_then(|o| o.group.clone()),
        kind: match &outlet.kind {
            OutletKind::Uplinks(outflow) => LayoutKind::Uplinks(outflow.end),
            OutletKind::Block => LayoutKind::Block,
            OutletKind::Main => LayoutKind::Main,
        },
        is_measured: tiers.clone().any(is_measured),
        tiers: tiers
            .map(|tier| {
                let members = tier.members.iter();
                members
                    .filter_map(|m| Some((line(&m.uplink)?, m.weight)))
                    .collect()
            })
            .collect(),
        failback: outflow.map_or(Failback::default(), |o| o.failback),
        sticky: outflow.is_some_and(|o| o.sticky.is_some()),
    }
}
