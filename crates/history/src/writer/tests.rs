use uplinkd_model::UplinkName;

use super::*;
use crate::{Bytes, Series, Stats};

fn points(slot: i64) -> Message {
    let series = Series::interface(UplinkName::new("isp1").unwrap());
    let bytes = Stats::Bytes(Bytes { rx: 1, tx: 1 });
    Message::Points {
        slot,
        points: vec![(Arc::new(series), bytes)],
    }
}

fn writer(directory: &Path) -> Writer {
    Writer::new(Reader::of(directory), 64 << 20, Arc::default())
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
    let (queue, messages) = sync_channel(2);
    let dropped = Arc::new(AtomicU64::new(0));
    let sender = Sender {
        queue,
        dropped: Arc::clone(&dropped),
    };
    let sent: Vec<_> = (0..5).map(|slot| sender.send(points(slot))).collect();
    assert_eq!(sent, [true, true, false, false, false]);
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    drop(messages);
    assert!(!sender.send(points(9)), "nobody reads any more");
}

#[test]
fn a_place_that_cannot_be_used_is_tried_again_and_what_waits_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("state");
    fs::write(&place, "in the way").unwrap();
    let mut writer = writer(&place);
    writer.reader.live().take(points(0));
    writer.commit();
    let trouble = writer.reader.trouble().unwrap();
    assert!(trouble.contains("state"), "{trouble}");
    fs::remove_file(&place).unwrap();
    writer.commit();
    assert!(writer.reader.trouble().is_some(), "its minute is not over");
    assert_eq!(writer.reader.live().points.len(), 1);
    writer.retry_at = Some(Instant::now());
    writer.commit();
    assert_eq!(writer.reader.trouble(), None);
    assert!(writer.reader.live().points.is_empty(), "it is in the file");
}

#[test]
fn a_file_that_is_damaged_under_us_is_put_aside_and_the_next_commit_is_in_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    writer.commit();
    let path = dir.path().join(crate::FILE);
    // What is in the journal would hide it.
    writer.store = None;
    let length = fs::metadata(&path).unwrap().len();
    let head = fs::read(&path).unwrap()[..100].to_vec();
    let rest = vec![0x5a; usize::try_from(length).unwrap() - 100];
    fs::write(&path, [head, rest].concat()).unwrap();
    writer.reader.live().take(points(0));
    writer.commit();
    assert_eq!(writer.reader.trouble(), None);
    assert!(dir.path().join("history.damaged.db").exists());
    assert!(writer.reader.live().points.is_empty());
}

#[test]
fn changes_are_written_soon_and_not_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = writer(dir.path());
    let may = (0..EARLY_MAX + 2).filter(|_| writer.may_be_early()).count();
    assert_eq!(may, EARLY_MAX as usize);
    writer.early_at = Instant::now()
        .checked_sub(EARLY_AGAIN)
        .expect("a machine that is up");
    assert!(writer.may_be_early() && !writer.may_be_early());
}

#[test]
fn a_clock_that_moves_is_not_trusted_for_a_while() {
    for moved in [-3600, 3600] {
        let mut clock = Trust::new();
        let now = clock.last.1;
        assert!(!clock.is_trusted(now), "just started");
        clock.from = Instant::now();
        assert!(clock.is_trusted(now + 1));
        assert!(!clock.is_trusted(now + moved));
        assert!(!clock.is_trusted(now + moved), "not at once");
    }
}
