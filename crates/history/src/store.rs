//! The file: SQLite, written seldom and in few places.
//!
//! Rows of tallies are blocks of many slots, with keys that rise with time, so that a commit changes the last
//! pages of few tables. The journal is a write-ahead log without a flush at each commit: a loss of power
//! costs the last commits, and never the file.

mod commit;
mod trim;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use uplinkd_model::{Family, UplinkName};

use crate::{
    tally::Series,
    tier::{Tier, aligned},
};

/// The file's name in the state directory.
pub const FILE: &str = "history.db";
/// What a damaged one is renamed to. One is kept: the next takes its place.
const ASIDE: &str = "history.damaged.db";
/// `uplk`, in the file's head: that it is ours.
const APPLICATION: i32 = 0x7570_6c6b;
/// The layout below. A file of a higher one is refused.
const VERSION: i32 = 1;
/// A commit changes a few pages in part, which are written whole: half the usual size came to three quarters of
/// the bytes that reach the disk. The journal is written back at 4 MiB of them.
const PAGE: u64 = 2048;
const JOURNAL_PAGES: u64 = 2000;
/// Bits of a row's key that number the series; the second at which the block begins is above.
const SERIES_BITS: u32 = 16;
/// Series that a file can hold.
const SERIES_MAX: i64 = (1 << SERIES_BITS) - 1;

const SCHEMA: &str = "
create table series(id integer primary key, uplink text not null, family integer not null,
    target text not null, unique(uplink, family, target)) strict;
create table fine(id integer primary key, data blob not null) strict;
create table minute(id integer primary key, data blob not null) strict;
create table hour(id integer primary key, data blob not null) strict;
create table interval(id integer primary key, series integer not null, health integer not null,
    since integer not null, length integer, reason text not null) strict;
create table event(id integer primary key, time integer not null, warn integer not null,
    kind text not null, text text not null, detail text not null) strict;
";

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It was written by a version of ours that comes after this one.
    #[error(
        "{} is of a newer uplinkd (layout {found}, this one knows {VERSION}); \
         move it away to begin a new one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: i32,
    },
    /// It is a database of something else.
    #[error("{} is a database of another program; move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// It is no database, or not a whole one.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// It cannot be read or written, at the moment.
    #[error("cannot use {}: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
}

impl StoreError {
    fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                why: source.to_string(),
            },
            _ => Self::Unusable { path, source },
        }
    }
}

/// The file, open for writing. One at a time.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Pages that it may have.
    pages_max: i64,
    series: BTreeMap<Series, i64>,
    /// Beginnings of blocks of coarser tiers whose finer slots have changed since they were made.
    touched: BTreeMap<Tier, BTreeSet<i64>>,
    /// The hour in which old rows were last removed.
    trimmed_in: i64,
}

impl Store {
    /// Opens the file of a directory, or makes it. What was going on when its last writer died ended when
    /// that was last seen. It grows to `size` bytes at most, besides 4 MiB of journal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(directory: &Path, size: u64) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let bad = |e| StoreError::of(&path, e);
        let connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(bad)?;
        connection
            .busy_timeout(std::time::Duration::from_secs(2))
            .map_err(bad)?;
        prepare(&connection, &path)?;
        let mut store = Self {
            pages_max: i64::try_from(size / PAGE).unwrap_or(i64::MAX).max(128),
            series: read_series(&connection).map_err(bad)?,
            touched: BTreeMap::new(),
            trimmed_in: 0,
            connection,
            path: path.clone(),
        };
        store.take_up().map_err(bad)?;
        store.fit().map_err(bad)?;
        Ok(store)
    }

    /// Opens it; one that is damaged is put aside, and a new one begun. Says where it was put, and why.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_or_begin(
        directory: &Path,
        size: u64,
    ) -> Result<(Self, Option<(PathBuf, String)>), StoreError> {
        match Self::open(directory, size) {
            Err(StoreError::Damaged { path, why }) => {
                let aside = put_aside(&path).map_err(|e| StoreError::Damaged {
                    path,
                    why: format!("{why}; and it cannot be put aside: {e}"),
                })?;
                Ok((Self::open(directory, size)?, Some((aside, why))))
            }
            other => Ok((other?, None)),
        }
    }

    /// Ends what a dead writer left open, and finds what it has not rolled up.
    fn take_up(&mut self) -> rusqlite::Result<()> {
        let newest = |table: &str| -> rusqlite::Result<Option<i64>> {
            let text = format!("select max(id) from {table}");
            let id = self.connection.query_row(&text, [], |r| r.get(0));
            id.map(|id: Option<i64>| id.map(|id| id >> SERIES_BITS))
        };
        let last_seen = match newest("fine")? {
            Some(start) => self.end_of_block(start)?,
            None => 0,
        };
        self.connection.execute(
            "update interval set length = max(0, ?1 - since) where length is null",
            [last_seen * 1000],
        )?;
        for tier in [Tier::Fine, Tier::Minute] {
            let Some(coarser) = tier.coarser() else {
                continue;
            };
            let from = newest(coarser.table())?.map_or(i64::MIN, |start| start << SERIES_BITS);
            let text = format!(
                "select distinct id >> 16 from {} where id >= ?1",
                tier.table()
            );
            let mut asked = self.connection.prepare(&text)?;
            let starts = asked.query_map([from], |r| r.get::<_, i64>(0))?;
            let blocks = starts.map(|s| s.map(|s| aligned(s, coarser.block())));
            let blocks = blocks.collect::<rusqlite::Result<_>>()?;
            self.touched.insert(tier, blocks);
        }
        Ok(())
    }

    /// When the last slot of the fine blocks that begin then ends.
    fn end_of_block(&self, start: i64) -> rusqlite::Result<i64> {
        let blocks = read_blocks(&self.connection, Tier::Fine, start, start + 1)?;
        let last = blocks.values().filter_map(|points| points.last_key_value());
        Ok(last
            .map(|(time, _)| time + Tier::Fine.step())
            .max()
            .unwrap_or(start))
    }

    /// How many bytes of the file are in use.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn used(&self) -> Result<u64, StoreError> {
        let pages = self
            .used_pages()
            .map_err(|e| StoreError::of(&self.path, e))?;
        Ok(pages.unsigned_abs() * PAGE)
    }

    fn used_pages(&self) -> rusqlite::Result<i64> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |r| r.get(0));
        let (all, free): (i64, i64) = (pragma("page_count")?, pragma("freelist_count")?);
        Ok(all - free)
    }
}

/// Makes sure that it is a whole one of ours, of this layout.
fn prepare(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let bad = |e| StoreError::of(path, e);
    let number = |name: &str| -> rusqlite::Result<i32> {
        connection.pragma_query_value(None, name, |r| r.get(0))
    };
    let tables = "select count(*) from sqlite_schema";
    let tables: i64 = connection
        .query_row(tables, [], |r| r.get(0))
        .map_err(bad)?;
    let (application, version) = (
        number("application_id").map_err(bad)?,
        number("user_version").map_err(bad)?,
    );
    if tables > 0 && application != APPLICATION {
        let path = path.to_owned();
        return Err(StoreError::Foreign { path });
    }
    if version > VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
        });
    }
    connection
        .execute_batch(
            &format!(
            "pragma page_size = {PAGE}; pragma journal_mode = wal; pragma synchronous = normal;
             pragma wal_autocheckpoint = {JOURNAL_PAGES}; pragma cache_size = -1024; pragma temp_store = memory;"
        ),
        )
        .map_err(bad)?;
    if tables == 0 {
        let whole = format!(
            "begin immediate; {SCHEMA} pragma application_id = {APPLICATION};
             pragma user_version = {VERSION}; commit;"
        );
        return connection.execute_batch(&whole).map_err(bad);
    }
    let check = "pragma quick_check(1)";
    let found: String = connection.query_row(check, [], |r| r.get(0)).map_err(bad)?;
    match found.as_str() {
        "ok" => Ok(()),
        why => Err(StoreError::Damaged {
            path: path.to_owned(),
            why: why.to_owned(),
        }),
    }
}

/// Renames a damaged file, and forgets its journal, which is of no use with another one.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_file_name(ASIDE);
    fs::rename(path, &aside)?;
    for end in ["-wal", "-shm"] {
        let journal = path.with_file_name(format!("{FILE}{end}"));
        match fs::remove_file(journal) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

/// The series that a file knows, by what they are of.
pub(crate) fn read_series(connection: &Connection) -> rusqlite::Result<BTreeMap<Series, i64>> {
    let mut asked = connection.prepare("select uplink, family, target, id from series")?;
    let mut rows = asked.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (uplink, family, target): (String, i64, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let Ok(uplink) = UplinkName::new(&uplink) else {
            continue;
        };
        let series = Series {
            uplink,
            family: match family {
                4 => Some(Family::V4),
                6 => Some(Family::V6),
                _ => None,
            },
            target: (!target.is_empty()).then_some(target),
        };
        all.insert(series, row.get(3)?);
    }
    Ok(all)
}

/// The tallies of a tier in blocks that begin within a time, by series. What cannot be read is left out.
pub(crate) fn read_blocks(
    connection: &Connection,
    tier: Tier,
    from: i64,
    until: i64,
) -> rusqlite::Result<BTreeMap<i64, crate::tier::Points>> {
    let text = format!(
        "select id, data from {} where id >= ?1 and id < ?2",
        tier.table()
    );
    let mut asked = connection.prepare_cached(&text)?;
    let mut rows = asked.query([from << SERIES_BITS, until << SERIES_BITS])?;
    let mut all: BTreeMap<i64, crate::tier::Points> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let data = row.get_ref(1)?;
        let slots = data.as_blob().ok().and_then(crate::codec::decode);
        let points = all.entry(id & SERIES_MAX).or_default();
        let start = id >> SERIES_BITS;
        for (slot, stats) in slots.into_iter().flatten() {
            points.insert(start + i64::from(slot) * tier.step(), stats);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
