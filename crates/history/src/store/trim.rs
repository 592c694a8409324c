//! What keeps the file small: rows too old for their tier go, and where that is not enough, the oldest of all.

use rusqlite::{Connection, Transaction};

use super::{SERIES_BITS, Store};
use crate::tier::{Tier, aligned};

/// Events and changes of health that are kept at most: with one each five minutes, for two months. The oldest
/// go first.
const ROWS_MAX: i64 = 20_000;
/// Of a file that is too large so many parts are left of as many and one; of all tiers alike.
const PARTS: i64 = 8;

/// Removes what is older than its tier is kept.
pub(super) fn by_age(transaction: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    for tier in Tier::ALL {
        let block = tier.coarser().map_or(tier.block(), Tier::block);
        // In whole blocks of the coarser tier: what is there of one is all of it.
        let oldest = aligned(now - tier.keep(), block);
        remove_before(transaction, tier, oldest << SERIES_BITS)?;
    }
    let oldest = (now - Tier::Hour.keep()) * 1000;
    transaction.execute("delete from event where time < ?1", [oldest])?;
    transaction.execute("delete from interval where since + length < ?1", [oldest])?;
    for table in ["event", "interval"] {
        let text = format!("delete from {table} where id <= (select max(id) from {table}) - ?1");
        transaction.execute(&text, [ROWS_MAX])?;
    }
    Ok(())
}

fn remove_before(connection: &Connection, tier: Tier, id: i64) -> rusqlite::Result<()> {
    let text = format!("delete from {} where id < ?1", tier.table());
    connection.execute(&text, [id]).map(|_| ())
}

impl Store {
    /// Sets the bound, below which a file that is larger is brought first.
    pub(super) fn fit(&mut self) -> rusqlite::Result<()> {
        self.shrink()?;
        let pages: i64 = self
            .connection
            .pragma_query_value(None, "page_count", |r| r.get(0))?;
        if pages > self.pages_max {
            // Free pages are within the file; only this gives them back.
            self.connection.execute_batch("vacuum")?;
        }
        let bound = format!("pragma max_page_count = {}", self.pages_max);
        self.connection.query_row(&bound, [], |_| Ok(()))
    }

    /// Removes the oldest until a tenth is free.
    pub(super) fn shrink(&mut self) -> rusqlite::Result<()> {
        // Each turn removes an eighth of the time that is left, so a few are enough for any size.
        for _ in 0..64 {
            if self.used_pages()? <= self.pages_max / 10 * 9 {
                return Ok(());
            }
            let transaction = self.connection.transaction()?;
            for table in Tier::ALL
                .map(Tier::table)
                .into_iter()
                .chain(["event", "interval"])
            {
                // What lasts is still to get its length.
                let over = match table {
                    "interval" => "and length is not null",
                    _ => "",
                };
                let text = format!(
                    "delete from {table} where id <= (select min(id) + (max(id) - min(id)) / {PARTS} \
                     from {table}) {over}"
                );
                transaction.execute(&text, [])?;
            }
            transaction.commit()?;
        }
        Ok(())
    }
}
