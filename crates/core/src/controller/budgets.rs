//! Budgets: what is read, who is told, and when it is written down.

use std::{collections::BTreeMap, time::Duration};

use uplinkd_model::{
    By, Counters, Permille, UplinkName,
    budget::{AtLimit, Day, Ledger},
    notice::Notice,
};

use super::{Controller, serve::News};
use crate::{
    Time,
    budget::Accounts,
    families::{FAMILIES, PerFamily},
    status::BudgetSnapshot,
};

/// How long counted bytes wait until they are written down: what a loss of power may cost, and flash memory
/// endures 288 small writes a day for decades.
const WRITE_AFTER: Duration = Duration::from_secs(5 * 60);

impl Controller {
    /// Goes on with what was written down of budgets. `boot` names the present run of the kernel. To be
    /// told before anything else.
    pub fn restore_budgets(&mut self, ledger: Ledger, boot: String, today: Day) {
        self.accounts = Accounts::restored(ledger, boot, today);
    }

    /// Everything that is known of budgets, to be written down at a stop.
    pub fn last_ledger(&mut self) -> Ledger {
        self.accounts.write(true)
    }

    /// What the interfaces of uplinks with a budget have counted.
    pub(super) fn count_bytes(&mut self, counters: &BTreeMap<u32, Counters>, now: Time) {
        let mut has_grown = false;
        for (index, uplink) in self.config.uplinks.iter().enumerate() {
            if uplink.budget.is_none() {
                continue;
            }
            let mut lines = self.lines.iter().filter(|l| l.uplink == index);
            let device = lines.find_map(|l| Some(l.link.usable()?.device.index));
            let found = device.and_then(|d| Some((d, *counters.get(&d)?)));
            if let Some((device, counters)) = found {
                let word = self.words.uplink(index);
                let counted = self.accounts.count(&uplink.name, word, device, counters);
                let (grown, is_urgent) = counted;
                has_grown |= grown > 0;
                if is_urgent {
                    self.accounts.write_until(now);
                }
            }
        }
        if has_grown {
            self.accounts.write_until(now + WRITE_AFTER);
            self.heed_budgets(now);
        }
    }

    pub(super) fn take_day(&mut self, today: Day, now: Time) {
        if self.accounts.tell_day(today) {
            self.heed_budgets(now);
        }
    }

    pub(super) fn set_used(&mut self, uplink: &UplinkName, used: u64, by: By, now: Time) {
        let own = self.config.uplink(uplink).and_then(|u| u.budget.as_ref());
        if let Some(budget) = own {
            self.accounts.set_used(uplink, budget, used);
            let uplink = uplink.clone();
            self.notify(Notice::BudgetSet { uplink, used, by });
            self.accounts.write_until(now);
            self.heed_budgets(now);
        }
    }

    pub(super) fn write_if_due(&mut self, now: Time) {
        if self.accounts.write_at().is_some_and(|at| at <= now) {
            let ledger = self.accounts.write(false);
            self.actions.push_back(crate::Action::WriteLedger(ledger));
        }
    }

    /// Tells of levels that were reached, and decides again where a budget is used up, or begins anew.
    fn heed_budgets(&mut self, now: Time) {
        for level in self.accounts.news(&self.config) {
            let uplink = level.uplink;
            let Some(budget) = self.config.uplink(&uplink).and_then(|u| u.budget.clone()) else {
                continue;
            };
            let (_, until) = self.accounts.period(&uplink, &budget);
            let is_spent = level.level == Permille(1000);
            self.notify(Notice::Budget {
                level: level.level,
                used: level.used,
                limit: budget.limit,
                until: until.to_string(),
                then: is_spent.then(|| then(budget.at_limit).to_owned()),
                uplink,
            });
            // It must not be told again after a loss of power.
            self.accounts.write_until(now);
        }
        let mut news = News::default();
        for (index, uplink) in self.config.uplinks.iter().enumerate() {
            let is_spent = self.spent(index).is_some();
            for family in FAMILIES {
                let was_spent = self.service.of(family).spent.contains(&uplink.name);
                let has_line = self
                    .lines
                    .iter()
                    .any(|l| l.uplink == index && l.family == family && !l.is_absent());
                if is_spent != was_spent && has_line {
                    let name = &uplink.name;
                    *news.of_mut(family) = Some(match is_spent {
                        true => format!("uplink {name} has used up its budget"),
                        false => format!("uplink {name} has something left of its budget again"),
                    });
                }
            }
        }
        if news != PerFamily::default() {
            self.reselect(news, now);
        }
    }

    /// What becomes of an uplink, where its budget is used up.
    pub(super) fn spent(&self, uplink: usize) -> Option<AtLimit> {
        let uplink = &self.config.uplinks[uplink];
        self.accounts.spent(&uplink.name, uplink.budget.as_ref())
    }

    /// Whether an uplink is spared because its budget is used up: it is asked seldom then.
    pub(super) fn is_spared(&self, uplink: usize) -> bool {
        matches!(self.spent(uplink), Some(AtLimit::LastResort | AtLimit::Off))
    }

    pub(crate) fn budget_snapshot(&self, uplink: usize) -> Option<BudgetSnapshot> {
        let uplink = &self.config.uplinks[uplink];
        let budget = uplink.budget.as_ref()?;
        let used = self.accounts.used(&uplink.name, budget);
        let (since, until) = self.accounts.period(&uplink.name, budget);
        Some(BudgetSnapshot {
            used,
            limit: budget.limit,
            since,
            until,
            is_spent: used >= budget.limit,
            at_limit: budget.at_limit,
        })
    }
}

/// What becomes of an uplink at its limit, in words.
fn then(at_limit: AtLimit) -> &'static str {
    match at_limit {
        AtLimit::LastResort => "it serves only where no other uplink does",
        AtLimit::Off => "it carries nothing any more but what comes in by it",
        AtLimit::Keep => "it goes on",
    }
}
