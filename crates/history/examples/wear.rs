//! What history costs a disk: `cargo xtask bench history`.
//!
//! Two uplinks with four targets each, asked each second. Days are simulated through the store itself; after
//! each commit all is flushed, since five minutes pass before the next and the kernel writes back after half a
//! minute. What reaches the disk is what the kernel counts for this process (`write_bytes` of
//! `/proc/self/io`), the file system's own journal apart.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use uplinkd_history::{
    Answers, Bytes, FILE, LineTime, Live, Message, Question, Reader, SLOT, Series, Stats, Store,
};
use uplinkd_model::{Family, Health, UplinkName};

const DAY: i64 = 86_400;
const START: i64 = 1_796_083_200;
const SIZE: u64 = 64 << 20;
/// Days that are flushed commit by commit, after a first one that fills the tier of seconds.
const MEASURED: i64 = 2;
const YEARS_DAYS: i64 = 731;

/// The tallies of ten seconds.
type Slot = Vec<(Arc<Series>, Stats)>;
type Done<T> = Result<T, Box<dyn Error>>;

#[expect(
    clippy::print_stdout,
    reason = "it is a program of its own, whose result this is"
)]
fn main() -> Done<()> {
    let mut words = env::args().skip(1);
    let folder = PathBuf::from(words.next().ok_or("name a folder on the disk to measure")?);
    let days = words.next().map_or(Ok(YEARS_DAYS), |d| d.parse())?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let day = one_day()?;
    let mut store = Store::open(&folder, SIZE)?;
    let mut live = Live::default();
    let mut now = START;
    run(&mut store, &mut live, &day, &mut now, 1, 300, None)?;
    let before = written()?;
    run(
        &mut store,
        &mut live,
        &day,
        &mut now,
        MEASURED,
        300,
        Some(&folder),
    )?;
    let wear = (written()? - before) as f64 / MEASURED as f64;
    run(
        &mut store,
        &mut live,
        &day,
        &mut now,
        days - 1 - MEASURED,
        3600,
        None,
    )?;
    let file = fs::metadata(folder.join(FILE))?.len();
    let mut results = BTreeMap::from([
        ("written_bytes_per_day", wear),
        ("days", days as f64),
        ("file_bytes_at_the_end", file as f64),
        ("used_bytes_at_the_end", store.used()? as f64),
    ]);
    for (name, since, step) in [
        ("day_query_ms", DAY, 300),
        ("day_in_seconds_query_ms", DAY / 2, 10),
        ("month_query_ms", 30 * DAY, 10_800),
        ("two_years_query_ms", 730 * DAY, 7 * DAY),
    ] {
        results.insert(name, median_of_queries(&folder, now, since, step)?);
    }
    let began = Instant::now();
    Reader::of(&folder).report(((now - 30 * DAY) * 1000, now * 1000))?;
    results.insert("report_ms", began.elapsed().as_secs_f64() * 1000.0);
    drop(store);
    fs::remove_dir_all(&folder)?;
    for (name, value) in results {
        println!("{name} {value:.3}");
    }
    Ok(())
}

/// Days of tallies, with a commit each so many seconds, flushed where a folder is given.
fn run(
    store: &mut Store,
    live: &mut Live,
    day: &[Slot],
    now: &mut i64,
    days: i64,
    commit_every: i64,
    flush: Option<&Path>,
) -> Done<()> {
    for _ in 0..days {
        for points in day {
            let points = points.clone();
            live.take(Message::Points { slot: *now, points });
            *now += SLOT;
            if *now % commit_every == 0 {
                store.commit(live, *now, true)?;
                if let Some(folder) = flush {
                    for end in ["", "-wal"] {
                        File::open(folder.join(format!("{FILE}{end}")))?.sync_all()?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// The tallies of each slot of a day, with numbers that do not repeat.
fn one_day() -> Done<Vec<Slot>> {
    let mut series = Vec::new();
    for name in ["fibre", "cable"] {
        let uplink = UplinkName::new(name)?;
        series.push(Arc::new(Series::interface(uplink.clone())));
        series.push(Arc::new(Series::line(uplink.clone(), Family::V4)));
        for target in ["gateway", "icmp:1.1.1.1", "icmp:8.8.8.8", "icmp:9.9.9.9"] {
            let target = target.to_owned();
            series.push(Arc::new(Series::target(uplink.clone(), Family::V4, target)));
        }
    }
    // A plain generator (Knuth's constants): the same day on every machine.
    let mut state = 1_u64;
    let mut random = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let slots = (0..DAY / SLOT).map(|_| {
        let each = series.iter().map(|series| {
            let stats = match (&series.target, series.family) {
                (Some(_), _) => {
                    let (mut answers, mut before) = (Answers::default(), None);
                    for _ in 0..SLOT {
                        if random(500) == 0 {
                            answers.lost();
                            continue;
                        }
                        let micros =
                            9000 + random(1500) + random(1500) + random(40) / 39 * random(30_000);
                        answers.answered(micros, before);
                        before = Some(micros);
                    }
                    Stats::Answers(answers)
                }
                (None, Some(_)) => {
                    let mut time = LineTime::default();
                    time.add(Health::Up, 10_000);
                    Stats::Time(time)
                }
                (None, None) => Stats::Bytes(Bytes {
                    rx: random(100_000_000),
                    tx: random(10_000_000),
                }),
            };
            (Arc::clone(series), stats)
        });
        each.collect()
    });
    Ok(slots.collect())
}

fn median_of_queries(folder: &Path, now: i64, since: i64, step: i64) -> Done<f64> {
    let reader = Reader::of(folder);
    let question = Question {
        uplink: Some("fibre".to_owned()),
        since: now - since,
        until: now,
        step,
    };
    let mut times = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        let found = reader.query(&question)?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        if found.len() != 6 {
            return Err(format!("{} series instead of 6", found.len()).into());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Bytes that this process has sent to the disk.
fn written() -> Done<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes: "));
    Ok(line
        .ok_or("the kernel does not count what is written")?
        .parse()?)
}
