//! Bytes of uplinks with a budget: counted exactly over restarts and reboots, held against the limit.
//!
//! An interface's counters go on while no daemon runs, and begin again at zero when the machine starts or the
//! interface is made anew. So what is remembered is the last reading, with the run of the kernel and the
//! interface that it belongs to: what was counted since is the difference, or all of it.

use std::collections::BTreeMap;

use uplinkd_model::{
    Config, Counters, Permille, UplinkName,
    budget::{AtLimit, Budget, Day, Ledger, Record},
};

use crate::Time;

/// How many days are remembered: more than the longest period.
const DAYS: i32 = 400;

/// Something worth telling of a budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) uplink: UplinkName,
    pub(crate) level: Permille,
    pub(crate) used: u64,
}

/// The bytes of all uplinks that have a budget, or ever had one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    ledger: Ledger,
    /// The present run of the kernel.
    boot: String,
    /// Today, by the local calendar.
    today: Day,
    /// Bytes counted since the records were last written down.
    unwritten: BTreeMap<UplinkName, u64>,
    /// When they are to be written down again.
    write_at: Option<Time>,
}

impl Accounts {
    /// Goes on with what was written down.
    pub(crate) fn restored(mut ledger: Ledger, boot: String, today: Day) -> Self {
        for record in ledger.values_mut() {
            // The power may have failed, and with it went what was counted since it was written down: it
            // counts as if the line had gone on as before.
            if !record.is_closed && record.boot != boot {
                let day = newest(record, today);
                *record.days.entry(day.0).or_default() += record.recent;
            }
            record.is_closed = false;
        }
        Self {
            ledger,
            boot,
            today,
            ..Self::default()
        }
    }

    /// The records as they are to be written down. `is_last`: nothing is counted after it.
    pub(crate) fn write(&mut self, is_last: bool) -> Ledger {
        self.write_at = None;
        for (name, bytes) in std::mem::take(&mut self.unwritten) {
            if let Some(record) = self.ledger.get_mut(&name) {
                record.recent = bytes;
            }
        }
        let mut written = self.ledger.clone();
        written.values_mut().for_each(|r| r.is_closed = is_last);
        written
    }

    pub(crate) fn write_at(&self) -> Option<Time> {
        self.write_at
    }

    /// Has the records written down at a time at the latest.
    pub(crate) fn write_until(&mut self, at: Time) {
        self.write_at = Some(self.write_at.map_or(at, |before| before.min(at)));
    }

    /// Another day has begun, or somebody has set the clock.
    pub(crate) fn tell_day(&mut self, today: Day) -> bool {
        std::mem::replace(&mut self.today, today) != today
    }

    /// Takes a reading of an uplink's interface. Says how much it is, and whether it has to be written down
    /// at once: what an interface had counted that is gone now, nobody can ask it for any more.
    pub(crate) fn count(
        &mut self,
        uplink: &UplinkName,
        interface: &str,
        index: u32,
        counters: Counters,
    ) -> (u64, bool) {
        let counted = (counters.rx_bytes, counters.tx_bytes);
        let all = counted.0 + counted.1;
        let grown = match self.ledger.get(uplink) {
            // Nobody asked for what was before.
            None => 0,
            Some(known) if known.interface != interface => 0,
            Some(known) if known.boot != self.boot || known.index != index => all,
            Some(known) => {
                let (rx, tx) = known.counted;
                let rx = counted.0.checked_sub(rx);
                rx.zip(counted.1.checked_sub(tx))
                    .map_or(all, |(rx, tx)| rx + tx)
            }
        };
        let record = self.ledger.entry(uplink.clone()).or_default();
        let is_another = (record.index, &record.boot) != (index, &self.boot);
        record.interface = interface.to_owned();
        record.boot.clone_from(&self.boot);
        (record.index, record.counted) = (index, counted);
        if grown > 0 {
            let day = newest(record, self.today);
            *record.days.entry(day.0).or_default() += grown;
            record.days.retain(|n, _| *n > day.0 - DAYS);
            *self.unwritten.entry(uplink.clone()).or_default() += grown;
        }
        (grown, is_another)
    }

    /// What an uplink has used of its budget in the present period.
    pub(crate) fn used(&self, uplink: &UplinkName, budget: &Budget) -> u64 {
        let record = self.ledger.get(uplink);
        record.map_or(0, |r| {
            let begins = budget.period.begins(newest(r, self.today));
            r.days.range(begins.0..).map(|(_, bytes)| bytes).sum()
        })
    }

    /// The first day of the present period, and of the next one.
    pub(crate) fn period(&self, uplink: &UplinkName, budget: &Budget) -> (Day, Day) {
        let record = self.ledger.get(uplink);
        let day = record.map_or(self.today, |r| newest(r, self.today));
        (budget.period.begins(day), budget.period.ends(day))
    }

    /// Sets what an uplink has used, as the provider counts it.
    pub(crate) fn set_used(&mut self, uplink: &UplinkName, budget: &Budget, used: u64) {
        let today = self.today;
        let record = self.ledger.entry(uplink.clone()).or_default();
        // A clock that once ran ahead is not held against it any more.
        record.days.retain(|n, _| *n <= today.0);
        let begins = budget.period.begins(today);
        record.days.retain(|n, _| *n < begins.0);
        record.days.insert(today.0, used);
        record.told = None;
    }

    /// Whether the budget is used up, and what becomes of the uplink then.
    pub(crate) fn spent(&self, uplink: &UplinkName, budget: Option<&Budget>) -> Option<AtLimit> {
        let budget = budget?;
        (self.used(uplink, budget) >= budget.limit).then_some(budget.at_limit)
    }

    /// The levels that were reached and not told of in this period, the highest of each uplink; the limit
    /// itself is one.
    pub(crate) fn news(&mut self, config: &Config) -> Vec<Level> {
        let mut news = Vec::new();
        for uplink in &config.uplinks {
            let Some(budget) = &uplink.budget else {
                continue;
            };
            let used = self.used(&uplink.name, budget);
            let (begins, _) = self.period(&uplink.name, budget);
            let Some(record) = self.ledger.get_mut(&uplink.name) else {
                continue;
            };
            let part = |level: Permille| u128::from(budget.limit) * u128::from(level.0) / 1000;
            let is_reached = |level: &Permille| u128::from(used) >= part(*level);
            let levels = budget.warn_at.iter().copied().chain([Permille(1000)]);
            let reached = levels.filter(is_reached).max();
            let is_rolling = matches!(budget.period, uplinkd_model::budget::Period::Rolling(_));
            let told = record.told.filter(|(level, day)| match is_rolling {
                // A period without a beginning: told again once it was below.
                true => reached >= Some(*level),
                false => *day == begins.0,
            });
            record.told = told;
            if let Some(level) = reached
                && told.is_none_or(|(known, _)| known < level)
            {
                record.told = Some((level, begins.0));
                let uplink = uplink.name.clone();
                news.push(Level {
                    uplink,
                    level,
                    used,
                });
            }
        }
        news
    }
}

/// Today, or the newest day with bytes where the clock says an earlier one: a machine without a battery
/// begins in 1970, and what it carries until it knows the time must not be lost in the past.
fn newest(record: &Record, today: Day) -> Day {
    let last = record.days.last_key_value();
    Day(last.map_or(today.0, |(day, _)| today.0.max(*day)))
}

#[cfg(test)]
mod tests {
    use uplinkd_model::budget::Period;

    use super::*;
    use crate::fixtures::{self, Dice};

    const GB: u64 = 1_000_000_000;

    fn name() -> UplinkName {
        fixtures::name(1)
    }

    fn budget(period: Period) -> Budget {
        Budget {
            limit: 50 * GB,
            period,
            warn_at: vec![Permille(750), Permille(950)],
            at_limit: AtLimit::LastResort,
        }
    }

    fn config(period: Period) -> Config {
        let mut config = fixtures::config();
        config.uplinks[0].budget = Some(budget(period));
        config
    }

    /// A machine with an interface, whose daemon and power come and go.
    struct Machine {
        accounts: Accounts,
        /// What is on the disk.
        disk: Ledger,
        boot: u32,
        index: u32,
        counters: Counters,
        today: Day,
        /// Bytes that really passed since the first reading.
        truth: u64,
    }

    impl Machine {
        fn new(today: Day) -> Self {
            let mut machine = Self {
                accounts: Accounts::restored(Ledger::new(), "0".to_owned(), today),
                disk: Ledger::new(),
                boot: 0,
                index: 3,
                counters: Counters {
                    rx_bytes: 12_345,
                    ..Counters::default()
                },
                today,
                truth: 0,
            };
            machine.read();
            machine
        }

        fn pass(&mut self, rx: u64, tx: u64) {
            self.counters.rx_bytes += rx;
            self.counters.tx_bytes += tx;
            self.truth += rx + tx;
        }

        /// As the controller does it.
        fn read(&mut self) {
            let accounts = &mut self.accounts;
            let (_, is_urgent) = accounts.count(&name(), "wan1", self.index, self.counters);
            if is_urgent {
                self.write(false);
            }
        }

        fn write(&mut self, is_last: bool) {
            self.disk = self.accounts.write(is_last);
        }

        /// Another run of the daemon.
        fn start(&mut self) {
            let (disk, boot) = (self.disk.clone(), self.boot.to_string());
            self.accounts = Accounts::restored(disk, boot, self.today);
        }

        fn make_interface_anew(&mut self) {
            self.index += 1;
            self.counters = Counters::default();
        }

        fn reboot(&mut self) {
            self.boot += 1;
            self.counters = Counters::default();
            self.start();
        }

        fn used(&self) -> u64 {
            self.accounts.used(&name(), &budget(Period::Rolling(365)))
        }
    }

    #[test]
    fn what_was_before_the_first_reading_does_not_count() {
        let mut machine = Machine::new(Day(20_000));
        assert_eq!(machine.used(), 0);
        machine.pass(700, 300);
        machine.read();
        assert_eq!(machine.used(), 1000);
    }

    #[test]
    fn the_sum_is_exact_over_any_history_of_restarts_reboots_and_new_interfaces() {
        for seed in 0..500 {
            let mut dice = Dice(seed);
            let mut machine = Machine::new(Day(20_000));
            for _ in 0..200 {
                machine.pass(dice.throw(5_000_000), dice.throw(100_000));
                match dice.throw(9) {
                    0 => {
                        // Killed; what passes meanwhile is in the counters.
                        machine.pass(dice.throw(9000), 1);
                        machine.start();
                    }
                    1 => {
                        machine.read();
                        machine.write(true);
                        machine.start();
                    }
                    2 => {
                        machine.read();
                        machine.write(true);
                        machine.reboot();
                        machine.pass(dice.throw(9000), 2);
                    }
                    3 => {
                        machine.read();
                        machine.make_interface_anew();
                        machine.read();
                    }
                    4 => {
                        // While no daemon runs.
                        machine.read();
                        machine.write(false);
                        machine.make_interface_anew();
                        machine.pass(3, dice.throw(9000));
                        machine.start();
                    }
                    5 => {
                        machine.today.0 += 1;
                        machine.accounts.tell_day(machine.today);
                    }
                    6 => {
                        machine.read();
                        machine.write(false);
                    }
                    _ => {}
                }
            }
            machine.read();
            assert_eq!(machine.used(), machine.truth, "seed {seed}");
        }
    }

    #[test]
    fn a_loss_of_power_never_makes_less_of_what_went_on_as_before() {
        let mut machine = Machine::new(Day(20_000));
        for _ in 0..5 {
            machine.pass(1000, 0);
            machine.read();
            machine.write(false);
        }
        // What was read since it was written down is gone with the power.
        machine.pass(900, 0);
        machine.read();
        machine.reboot();
        machine.pass(50, 0);
        machine.read();
        assert_eq!((machine.used(), machine.truth), (6050, 5950));
        // The near miss: after an orderly stop nothing is added.
        machine.write(true);
        machine.reboot();
        machine.read();
        assert_eq!(machine.used(), 6050);
    }

    #[test]
    fn another_interface_in_the_file_begins_at_its_own_count() {
        let mut machine = Machine::new(Day(20_000));
        machine.pass(1000, 0);
        machine.read();
        let other = Counters {
            rx_bytes: 77 * GB,
            ..Counters::default()
        };
        machine.accounts.count(&name(), "wan7", 9, other);
        assert_eq!(machine.used(), 1000);
    }

    #[test]
    fn a_month_begins_with_nothing_and_each_level_is_told_once() {
        let config = config(Period::Month(15));
        let mut machine = Machine::new(Day::of(2026, 1, 20));
        let mut told = Vec::new();
        for _ in 0..120 {
            machine.today.0 += 1;
            machine.accounts.tell_day(machine.today);
            machine.pass(2 * GB, 0);
            machine.read();
            let news = machine.accounts.news(&config);
            told.extend(news.iter().map(|l| (machine.today.to_string(), l.level.0)));
            assert_eq!(machine.accounts.news(&config), [], "told twice");
        }
        let expected = [
            ("2026-02-08", 750),
            ("2026-02-13", 950),
            ("2026-02-14", 1000),
            ("2026-03-05", 750),
            ("2026-03-10", 950),
            ("2026-03-11", 1000),
            ("2026-04-02", 750),
            ("2026-04-07", 950),
            ("2026-04-08", 1000),
            ("2026-05-03", 750),
            ("2026-05-08", 950),
            ("2026-05-09", 1000),
        ];
        let told: Vec<_> = told
            .iter()
            .map(|(day, level)| (day.as_str(), *level))
            .collect();
        assert_eq!(told, expected);
        // A restart does not tell it again.
        machine.write(false);
        machine.start();
        assert_eq!(machine.accounts.news(&config), []);
    }

    #[test]
    fn a_rolling_period_forgets_day_by_day() {
        let mut machine = Machine::new(Day(20_000));
        let budget = budget(Period::Rolling(30));
        for _ in 0..40 {
            machine.today.0 += 1;
            machine.accounts.tell_day(machine.today);
            machine.pass(GB, 0);
            machine.read();
        }
        assert_eq!(machine.accounts.used(&name(), &budget), 30 * GB);
        machine.today.0 += 10;
        machine.accounts.tell_day(machine.today);
        assert_eq!(machine.accounts.used(&name(), &budget), 20 * GB);
    }

    #[test]
    fn a_clock_that_begins_in_1970_loses_nothing() {
        let mut machine = Machine::new(Day::of(2026, 5, 7));
        machine.pass(GB, 0);
        machine.read();
        machine.write(true);
        machine.today = Day(0);
        machine.reboot();
        machine.pass(GB, 0);
        machine.read();
        machine.today = Day::of(2026, 5, 8);
        machine.accounts.tell_day(machine.today);
        let month = budget(Period::Month(1));
        assert_eq!(machine.accounts.used(&name(), &month), 2 * GB);
    }

    #[test]
    fn the_providers_own_number_can_be_set() {
        let mut machine = Machine::new(Day::of(2026, 5, 7));
        let month = budget(Period::Month(1));
        machine.pass(40 * GB, 0);
        machine.read();
        machine.accounts.news(&config(Period::Month(1)));
        machine.accounts.set_used(&name(), &month, 12 * GB);
        assert_eq!(machine.accounts.used(&name(), &month), 12 * GB);
        machine.pass(38 * GB, 0);
        machine.read();
        let spent = machine.accounts.spent(&name(), Some(&month));
        assert_eq!(spent, Some(AtLimit::LastResort));
        machine.accounts.set_used(&name(), &month, 0);
        assert_eq!(machine.accounts.spent(&name(), Some(&month)), None);
    }
}
