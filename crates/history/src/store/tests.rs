use std::{sync::Arc, time::Duration};

use uplinkd_model::Health;

use super::*;
use crate::{
    Answers, Bytes, Change, Event, Message, Points, Question, Reader, SLOT, Stats, tally::LineTime,
};

const MIB: u64 = 1 << 20;
/// Midnight, UTC.
const START: i64 = 1_796_083_200;

fn uplink() -> UplinkName {
    UplinkName::new("isp1").unwrap()
}

fn target() -> Arc<Series> {
    Arc::new(Series::target(
        uplink(),
        Family::V4,
        "icmp:1.1.1.1".to_owned(),
    ))
}

fn line() -> Arc<Series> {
    Arc::new(Series::line(uplink(), Family::V4))
}

/// One question in a slot, answered after so many microseconds.
fn answer(slot: i64, micros: u64) -> Message {
    let mut answers = Answers::default();
    answers.answered(micros, None);
    let mut time = LineTime::default();
    time.add(Health::Up, 10_000);
    let bytes = Stats::Bytes(Bytes { rx: 100, tx: 10 });
    Message::Points {
        slot,
        points: vec![
            (target(), Stats::Answers(answers)),
            (line(), Stats::Time(time)),
            (Arc::new(Series::interface(uplink())), bytes),
        ],
    }
}

fn change(at: i64, health: Health) -> Message {
    Message::Change(Change {
        series: line(),
        health: Some((health, "because".to_owned())),
        unix: at * 1000,
        steady: at * 1000,
    })
}

/// A store with a memory in front of it, as the thread has them.
struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    reader: Reader,
}

impl Bench {
    fn new(size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(dir.path(), size).unwrap(),
            reader: Reader::of(dir.path()),
            dir,
        }
    }

    fn take(&mut self, message: Message) {
        self.reader.live().take(message);
    }

    fn commit(&mut self, now: i64) {
        self.store
            .commit(&mut self.reader.live(), now, true)
            .unwrap();
    }

    /// As after a kill: what was not committed is lost.
    fn restart(&mut self, size: u64) {
        self.reader = Reader::of(self.dir.path());
        self.store = Store::open(self.dir.path(), size).unwrap();
    }

    /// Counts into each slot of a time, with a commit each five minutes.
    fn run(&mut self, from: i64, until: i64) {
        for slot in (from..until).step_by(SLOT as usize) {
            if slot % 300 == 0 {
                self.commit(slot);
            }
            self.take(answer(slot, 1000));
        }
        self.commit(until);
    }

    fn points(&self, since: i64, until: i64, step: i64) -> Points {
        let question = Question {
            uplink: None,
            since,
            until,
            step,
        };
        let found = self.reader.query(&question).unwrap();
        let own = found.into_iter().find(|s| s.series == *target());
        own.map(|s| s.points).unwrap_or_default()
    }

    fn asked(&self, since: i64, until: i64, step: i64) -> Vec<(i64, u64)> {
        let points = self.points(since, until, step).into_iter();
        let asked = points.map(|(time, stats)| match stats {
            Stats::Answers(answers) => (time, answers.asked),
            Stats::Time(_) | Stats::Bytes(_) => panic!("another kind"),
        });
        asked.collect()
    }

    fn total(&self, since: i64, until: i64, step: i64) -> u64 {
        self.asked(since, until, step).iter().map(|(_, n)| n).sum()
    }
}

#[test]
fn every_tally_is_found_once_at_every_step_before_and_after_its_commit() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 90_000);
    bench.take(answer(START + 90_000, 1000));
    let until = START + 90_010;
    for step in [10, 60, 600, 3600, 86_400] {
        assert_eq!(bench.total(START, until, step), 9001, "step {step}");
    }
    assert_eq!(
        bench.asked(START + 89_990, until, 10),
        [(START + 89_990, 1), (START + 90_000, 1)]
    );
    // A part of an hour that is a minute's tallies already, and of one that is not.
    assert_eq!(bench.total(START + 3600, START + 7200, 10), 360);
    assert_eq!(bench.total(START + 1800, START + 5400, 60), 360);
    let nothing = bench.points(START - 7200, START, 10);
    assert_eq!(nothing, Points::new());
}

#[test]
fn what_is_old_becomes_coarse_and_nothing_is_lost_in_between() {
    let mut bench = Bench::new(64 * MIB);
    let day = 86_400;
    bench.run(START, START + 3 * day);
    let count = |table: &str, bench: &Bench| -> i64 {
        let text = format!("select count(*) from {table}");
        bench
            .store
            .connection
            .query_row(&text, [], |r| r.get(0))
            .unwrap()
    };
    // Three series, in blocks of five minutes for 25 hours, and of an hour and a day for all.
    assert!((300 * 3..=301 * 3 + 36).contains(&count("fine", &bench)));
    assert_eq!(count("minute", &bench), 72 * 3);
    assert_eq!(count("hour", &bench), 3 * 3);
    assert_eq!(bench.total(START, START + 3 * day, 3600), 25_920);
    // Where seconds are asked for and only minutes are left, minutes are told.
    assert_eq!(
        bench.asked(START, START + 120, 10),
        [(START, 6), (START + 60, 6)]
    );
    // A month and two years later.
    bench.commit(START + 40 * day);
    assert_eq!((count("minute", &bench), count("hour", &bench)), (0, 9));
    bench.commit(START + 800 * day);
    assert_eq!(count("hour", &bench), 0);
}

#[test]
fn a_restart_goes_on_in_the_same_block_and_rolls_up_what_was_left() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 3530);
    bench.restart(64 * MIB);
    bench.take(answer(START + 3520, 1000));
    bench.take(answer(START + 3540, 1000));
    bench.commit(START + 3550);
    assert_eq!(bench.total(START, START + 3600, 10), 355);
    bench.restart(64 * MIB);
    bench.commit(START + 7200);
    let rows = "select count(*) from minute";
    let rows: i64 = bench
        .store
        .connection
        .query_row(rows, [], |r| r.get(0))
        .unwrap();
    assert_eq!(rows, 3);
    assert_eq!(bench.total(START, START + 3600, 60), 355);
}

#[test]
fn a_clock_that_goes_back_adds_to_what_was_counted() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 7200);
    bench.run(START + 1800, START + 7300);
    assert_eq!(bench.total(START, START + 7300, 10), 720 + 550);
    assert_eq!(bench.total(START, START + 7300, 3600), 720 + 550);
}

#[test]
fn an_outage_has_its_length_and_ends_when_the_daemon_was_last_seen() {
    let mut bench = Bench::new(64 * MIB);
    bench.take(change(START, Health::Up));
    bench.run(START, START + 600);
    bench.take(change(START + 600, Health::Down));
    bench.take(change(START + 690, Health::Up));
    bench.commit(START + 700);
    let window = (START * 1000, (START + 86_400) * 1000);
    let outages = |bench: &Bench| {
        let report = bench.reader.report(window).unwrap();
        let line = &report.uplinks[0].lines[0];
        let lengths: Vec<_> = line.outages.iter().map(|o| (o.length, o.is_open)).collect();
        (lengths, line.availability.time.of(Health::Up))
    };
    assert_eq!(outages(&bench).0, [(90_000, false)]);
    // Down again, committed, and killed 50 seconds after that; the ten last are not in the file.
    bench.take(change(START + 700, Health::Down));
    bench.run(START + 700, START + 740);
    bench.take(answer(START + 740, 1000));
    assert!(outages(&bench).0[1].1, "it lasts");
    bench.restart(64 * MIB);
    let (lengths, up) = outages(&bench);
    assert_eq!(lengths, [(90_000, false), (40_000, false)]);
    assert_eq!(up, 610_000);
    // Nobody was there for an hour: neither up nor down.
    bench.take(change(START + 4340, Health::Up));
    bench.take(Message::Stop((START + 4350) * 1000));
    bench.commit(START + 4350);
    let (lengths, up) = outages(&bench);
    assert_eq!((lengths.len(), up), (2, 620_000));
}

#[test]
fn events_are_kept_and_found_by_their_time() {
    let mut bench = Bench::new(64 * MIB);
    let event = |at: i64| Event {
        time: at * 1000,
        warn: true,
        kind: "selection".to_owned(),
        text: format!("at {at}"),
        detail: "{}".to_owned(),
    };
    for at in [START, START + 10] {
        bench.take(Message::Event(event(at)));
    }
    bench.commit(START + 10);
    bench.take(Message::Event(event(START + 20)));
    let found = bench
        .reader
        .events(((START + 10) * 1000, (START + 21) * 1000))
        .unwrap();
    assert_eq!(found, (vec![event(START + 10), event(START + 20)], true));
}

#[test]
fn the_file_stays_within_its_size_and_keeps_the_newest() {
    let mut bench = Bench::new(MIB);
    let until = START + 8 * 86_400;
    bench.run(START, until);
    let file = std::fs::metadata(bench.dir.path().join(FILE))
        .unwrap()
        .len();
    assert!(file <= MIB, "{file} bytes");
    assert!(bench.total(until - 600, until, 10) == 60);
    // A smaller size is taken at the next start.
    bench.restart(MIB / 2);
    bench.run(until, until + 600);
    let path = bench.dir.path().join(FILE);
    drop(bench.store);
    let file = std::fs::metadata(path).unwrap().len();
    assert!(file <= MIB / 2, "{file} bytes");
}

#[test]
fn too_much_and_nonsense_are_refused() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 20);
    let ask = |since, until, step| {
        let question = Question {
            uplink: Some("isp1".to_owned()),
            since,
            until,
            step,
        };
        bench
            .reader
            .query(&question)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert_eq!(ask(START, START + 86_400, 10), Ok(()));
    assert!(
        ask(START, START + 31_536_000, 10)
            .unwrap_err()
            .contains("more than 50000")
    );
    assert!(ask(START, START, 10).unwrap_err().contains("ends before"));
    assert!(
        ask(START, START + 10, 5)
            .unwrap_err()
            .contains("ten seconds")
    );
}

#[test]
fn a_damaged_file_is_put_aside_and_a_new_one_begun() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 7200);
    let directory = bench.dir.path().to_owned();
    let path = directory.join(FILE);
    drop(bench.store);
    // Pages in the middle are gone.
    let mut bytes = std::fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[8192..length - 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let (store, aside) = Store::open_or_begin(&directory, 64 * MIB).unwrap();
    let (aside, why) = aside.expect("it was damaged");
    assert!(aside.ends_with("history.damaged.db") && !why.is_empty());
    assert_eq!(std::fs::metadata(&aside).unwrap().len(), length as u64);
    assert!(store.series.is_empty());
    drop(store);
    // No database at all.
    std::fs::write(&path, [0x5a; 5000]).unwrap();
    let (_, aside) = Store::open_or_begin(&directory, 64 * MIB).unwrap();
    assert!(aside.is_some());
    // A whole one is left alone.
    let (_, aside) = Store::open_or_begin(&directory, 64 * MIB).unwrap();
    assert_eq!(aside, None);
}

#[test]
fn files_of_others_and_of_later_versions_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let make = |sql: &str| {
        let _ = std::fs::remove_file(&path);
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    make("create table theirs(a); insert into theirs values(1)");
    let before = std::fs::read(&path).unwrap();
    let refused = Store::open_or_begin(dir.path(), MIB).unwrap_err();
    assert!(
        refused.to_string().contains("of another program"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    make(&format!(
        "{SCHEMA} pragma application_id = {APPLICATION}; pragma user_version = 2"
    ));
    let refused = Store::open_or_begin(dir.path(), MIB).unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("of a newer uplinkd (layout 2, this one knows 1)"),
        "{text}"
    );
}

#[test]
fn nothing_old_is_removed_while_the_clock_is_in_doubt() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 7200);
    let far = START + 60 * 365 * 86_400;
    let live = &mut *bench.reader.live();
    bench.store.commit(live, far, false).unwrap();
    let rows = "select count(*) from fine";
    let rows: i64 = bench
        .store
        .connection
        .query_row(rows, [], |r| r.get(0))
        .unwrap();
    assert_eq!(rows, 24 * 3);
}

#[test]
fn a_reader_does_not_hold_the_writer_up() {
    let mut bench = Bench::new(64 * MIB);
    bench.run(START, START + 600);
    let reading = bench.reader.open_file().unwrap().unwrap();
    reading.execute_batch("begin").unwrap();
    let rows: i64 = reading
        .query_row("select count(*) from fine", [], |r| r.get(0))
        .unwrap();
    let began = std::time::Instant::now();
    bench.run(START + 600, START + 1200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "the writer waited"
    );
    let again: i64 = reading
        .query_row("select count(*) from fine", [], |r| r.get(0))
        .unwrap();
    assert_eq!(rows, again, "a reader sees one moment");
}
