//! One commit: new tallies into their blocks, changes of health, events, and what is over into coarser tiers.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};
use uplinkd_model::Family;

use super::{SERIES_BITS, SERIES_MAX, Store, StoreError, read_blocks};
use crate::{
    codec::{self, Slots},
    tally::{Series, place},
    tier::{Points, Tier, aligned, roll_up},
    writer::Live,
};

impl Store {
    /// Writes down all that waits, whole or not at all; nothing waits any more then. `now` is the unix second,
    /// and where `is_clock_trusted`, what is too old by it is removed.
    ///
    /// # Errors
    /// [`StoreError`]; what waits still does. The store must be opened anew.
    pub fn commit(
        &mut self,
        live: &mut Live,
        now: i64,
        is_clock_trusted: bool,
    ) -> Result<(), StoreError> {
        let result = self.commit_all(live, now, is_clock_trusted);
        result.map_err(|e| StoreError::of(&self.path, e))
    }

    fn commit_all(&mut self, live: &mut Live, now: i64, is_trusted: bool) -> rusqlite::Result<()> {
        let mut touched = std::mem::take(&mut self.touched);
        let mut series = std::mem::take(&mut self.series);
        let behaviour = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behaviour)?;
        write_points(&transaction, live, &mut series, &mut touched)?;
        let rows = write_intervals(&transaction, live, &mut series)?;
        for event in &live.events {
            transaction
                .prepare_cached(
                    "insert into event(time, warn, kind, text, detail) values(?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![
                    event.time,
                    event.warn,
                    event.kind,
                    event.text,
                    event.detail
                ])?;
        }
        for tier in [Tier::Fine, Tier::Minute] {
            roll_up_finished(&transaction, tier, now, &mut touched)?;
        }
        let hour = aligned(now, 3600);
        let is_trim_due = is_trusted && self.trimmed_in != hour;
        if is_trim_due {
            super::trim::by_age(&transaction, now)?;
        }
        transaction.commit()?;
        (self.series, self.touched) = (series, touched);
        if is_trim_due {
            self.trimmed_in = hour;
        }
        live.is_written(&rows);
        self.shrink()
    }
}

fn write_points(
    transaction: &Transaction<'_>,
    live: &Live,
    known: &mut BTreeMap<Series, i64>,
    touched: &mut BTreeMap<Tier, BTreeSet<i64>>,
) -> rusqlite::Result<()> {
    let tier = Tier::Fine;
    let mut blocks: BTreeMap<(i64, i64), Points> = BTreeMap::new();
    for ((time, series), stats) in &live.points {
        let Some(number) = number_of(transaction, known, series)? else {
            continue;
        };
        let start = aligned(*time, tier.block());
        let points = blocks.entry((start, number)).or_default();
        points.insert(aligned(*time, tier.step()), stats.clone());
        touched
            .entry(tier)
            .or_default()
            .insert(aligned(start, Tier::Minute.block()));
    }
    for ((start, number), points) in blocks {
        // An earlier commit in these minutes, or an earlier run, may have written some of it.
        let mut slots = read_row(transaction, tier, start, number)?;
        for (time, stats) in points {
            let Ok(slot) = u16::try_from((time - start) / tier.step()) else {
                continue;
            };
            match slots.get_mut(&slot) {
                Some(own) => own.merge(&stats),
                None => drop(slots.insert(slot, stats)),
            }
        }
        write_row(transaction, tier, start, number, &slots)?;
    }
    Ok(())
}

/// Makes the blocks of the next coarser tier of those finer ones that are over.
fn roll_up_finished(
    transaction: &Transaction<'_>,
    tier: Tier,
    now: i64,
    touched: &mut BTreeMap<Tier, BTreeSet<i64>>,
) -> rusqlite::Result<()> {
    let Some(coarser) = tier.coarser() else {
        return Ok(());
    };
    let present = aligned(now, coarser.block());
    let all = touched.entry(tier).or_default();
    let due: Vec<_> = all
        .iter()
        .copied()
        .filter(|start| *start != present)
        .collect();
    all.retain(|start| *start == present);
    for start in due {
        let fine = read_blocks(transaction, tier, start, start + coarser.block())?;
        for (number, points) in fine {
            let mut slots = Slots::new();
            for (time, stats) in roll_up(&points, coarser.step()) {
                if let Ok(slot) = u16::try_from((time - start) / coarser.step()) {
                    slots.insert(slot, stats);
                }
            }
            write_row(transaction, coarser, start, number, &slots)?;
        }
        if let Some(next) = coarser.coarser() {
            touched
                .entry(coarser)
                .or_default()
                .insert(aligned(start, next.block()));
        }
    }
    Ok(())
}

/// Writes changes of health. Says which rows those that last have got.
fn write_intervals(
    transaction: &Transaction<'_>,
    live: &Live,
    known: &mut BTreeMap<Series, i64>,
) -> rusqlite::Result<Vec<(Series, i64)>> {
    let insert =
        "insert into interval(series, health, since, length, reason) values(?1,?2,?3,?4,?5)";
    for (series, interval, row) in &live.closed {
        if let Some(row) = row {
            let text = "update interval set length = ?1 where id = ?2";
            transaction
                .prepare_cached(text)?
                .execute([interval.length, *row])?;
        } else if let Some(number) = number_of(transaction, known, series)? {
            let health = place(interval.health) as i64;
            transaction.prepare_cached(insert)?.execute(params![
                number,
                health,
                interval.since,
                interval.length,
                interval.reason
            ])?;
        }
    }
    let mut rows = Vec::new();
    for (series, current) in live.lines.iter().filter(|(_, c)| c.row.is_none()) {
        let Some(number) = number_of(transaction, known, series)? else {
            continue;
        };
        let (interval, none) = (&current.interval, None::<i64>);
        let health = place(interval.health) as i64;
        let row = params![number, health, interval.since, none, interval.reason];
        transaction.prepare_cached(insert)?.execute(row)?;
        rows.push((series.clone(), transaction.last_insert_rowid()));
    }
    Ok(rows)
}

/// The number of a series; a new one gets the next. None where the file has no numbers left.
fn number_of(
    transaction: &Transaction<'_>,
    known: &mut BTreeMap<Series, i64>,
    series: &Series,
) -> rusqlite::Result<Option<i64>> {
    if let Some(number) = known.get(series) {
        return Ok(Some(*number));
    }
    let number = known.values().max().map_or(1, |last| last + 1);
    if number > SERIES_MAX {
        return Ok(None);
    }
    let family = match series.family {
        Some(Family::V4) => 4,
        Some(Family::V6) => 6,
        None => 0,
    };
    let target = series.target.as_deref().unwrap_or_default();
    transaction.execute(
        "insert into series(id, uplink, family, target) values(?1, ?2, ?3, ?4)",
        params![number, series.uplink.as_str(), family, target],
    )?;
    known.insert(series.clone(), number);
    Ok(Some(number))
}

fn read_row(
    transaction: &Transaction<'_>,
    tier: Tier,
    start: i64,
    number: i64,
) -> rusqlite::Result<Slots> {
    let text = format!("select data from {} where id = ?1", tier.table());
    let id = start << SERIES_BITS | number;
    let mut asked = transaction.prepare_cached(&text)?;
    let data: Option<Vec<u8>> = asked.query_row([id], |r| r.get(0)).optional()?;
    Ok(data.and_then(|d| codec::decode(&d)).unwrap_or_default())
}

fn write_row(
    transaction: &Transaction<'_>,
    tier: Tier,
    start: i64,
    number: i64,
    slots: &Slots,
) -> rusqlite::Result<()> {
    let text = format!(
        "insert or replace into {}(id, data) values(?1, ?2)",
        tier.table()
    );
    let id = start << SERIES_BITS | number;
    transaction
        .prepare_cached(&text)?
        .execute(params![id, codec::encode(slots)])?;
    Ok(())
}
