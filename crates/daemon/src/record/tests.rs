use std::{net::IpAddr, sync::mpsc::Receiver};

use uplinkd_config::{OutletCodes, Slots, parse};
use uplinkd_core::{ProbeId, event::Asking};
use uplinkd_model::Health;

use super::*;

const FILE: &str = "[uplink.isp1]\ninterface = \"eth9\"\n[uplink.isp1.probe]\ntargets = [\"gateway\", \"icmp:192.0.2.1\"]\n";

fn config() -> Config {
    let parsed = parse("test", FILE).unwrap();
    let mut config = parsed.to_config(&Slots::default(), &OutletCodes::default());
    // The one interface that there is everywhere; the file would be refused with it.
    config.uplinks[0].interface = "lo".to_owned();
    config
}

fn at(ms: u64) -> Time {
    Time(Duration::from_millis(ms))
}

fn recording(queue: usize) -> (Recording, Receiver<Vec<Row>>) {
    let (sender, receiver) = sync_channel(queue);
    let thread = std::thread::spawn(|| {});
    let settings = Record::default();
    (
        Recording::new(settings, 1000.0, sender, thread, at(0)),
        receiver,
    )
}

fn probe(id: u64, target: [u8; 4]) -> Probe {
    Probe {
        id: ProbeId(id),
        uplink: UplinkName::new("isp1").unwrap(),
        device: "lo".to_owned(),
        mark: 1,
        asking: Asking::Echo(IpAddr::from(target)),
    }
}

fn lines(recording: &Recording) -> Vec<String> {
    recording.batch.iter().map(Row::to_string).collect()
}

#[test]
fn samples_are_written_in_the_order_of_asking_once_their_result_is_known() {
    let (mut recording, _receiver) = recording(1);
    let config = config();
    recording.asked(&probe(7, [192, 0, 2, 1]), &config, at(0));
    recording.asked(&probe(8, [10, 0, 0, 1]), &config, at(100));
    recording.answered(8, Duration::from_millis(5), at(105));
    assert_eq!(lines(&recording), [""; 0], "the first is still open");
    recording.asked(&probe(9, [192, 0, 2, 1]), &config, at(1000));
    assert_eq!(
        lines(&recording),
        [
            "1000.000,isp1,icmp:192.0.2.1,-,4",
            "1000.100,isp1,gateway,5.000,4"
        ]
    );
}

#[test]
fn an_answer_counts_until_the_timeout_and_not_longer() {
    let (mut recording, _receiver) = recording(1);
    let config = config();
    recording.asked(&probe(0, [192, 0, 2, 1]), &config, at(0));
    recording.answered(0, Duration::from_millis(1000), at(1001));
    recording.asked(&probe(1, [192, 0, 2, 1]), &config, at(2000));
    recording.answered(1, Duration::from_millis(1001), at(3001));
    recording.answered(99, Duration::from_millis(1), at(3001));
    let written = lines(&recording);
    assert!(written[0].contains(",1000.000,"), "{written:?}");
    assert!(written[1].contains(",-,"), "{written:?}");
}

#[test]
fn only_counters_that_moved_are_written_and_the_reading_before_them() {
    let (mut recording, _receiver) = recording(1);
    let config = config();
    let index = if_nametoindex("lo").unwrap();
    let read = |packets: u64| {
        let counters = Counters {
            rx_packets: packets,
            ..Counters::default()
        };
        BTreeMap::from([(index, counters)])
    };
    for (ms, packets) in [(0, 1), (500, 1), (1000, 1), (1500, 2), (1600, 3)] {
        recording.counted(&read(packets), &config, at(ms));
    }
    let times: Vec<_> = lines(&recording)
        .iter()
        .map(|l| l.split(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(times, ["1000.000", "1001.000", "1001.500", "1001.600"]);
}

#[test]
fn a_full_queue_drops_counts_and_never_waits() {
    let (mut recording, receiver) = recording(1);
    let config = config();
    let mut now = 0;
    for id in 0..3 * BATCH as u64 {
        now += 1;
        recording.asked(&probe(id, [192, 0, 2, 1]), &config, at(now));
        recording.answered(id, Duration::ZERO, at(now));
    }
    assert_eq!(receiver.try_recv().unwrap().len(), BATCH);
    assert_eq!(recording.dropped, 2 * BATCH as u64);
    recording.hand_over(at(now));
    let rows = receiver.try_recv().unwrap();
    let last = rows.last().unwrap().to_string();
    assert!(
        last.ends_with(&format!("{} rows dropped", 2 * BATCH)),
        "{last}"
    );
}

#[test]
fn health_is_recorded_in_words_and_says_whether_it_is_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(dir.path());
    let (recording, _receiver) = recording(1);
    recorder.on = Some(recording);
    let mut tell = |reason| {
        let notice = Notice::Health {
            uplink: UplinkName::new("isp1").unwrap(),
            family: Family::V4,
            from: Health::Up,
            to: Health::Down,
            reason,
        };
        recorder.told(&notice, at(0));
    };
    tell(Reason::NoCarrier);
    tell(Reason::TargetsDown);
    let written = lines(recorder.on.as_ref().unwrap());
    assert!(
        written[0].ends_with("down (link): no carrier"),
        "{written:?}"
    );
    assert!(written[1].contains("down: its targets"), "{written:?}");
}

#[test]
fn what_is_left_is_written_when_it_stops_and_what_is_not_known_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::new(dir.path());
    let on = Record {
        samples: true,
        ..Record::default()
    };
    recorder.set(on, 1000.0, at(0));
    recorder.asked(&probe(0, [192, 0, 2, 1]), &config(), at(10));
    recorder.asked(&probe(1, [192, 0, 2, 1]), &config(), at(15));
    recorder.answered(1, Duration::from_millis(2), at(17));
    recorder.stop(at(20));
    let folder = std::fs::read_dir(dir.path().join(FOLDER)).unwrap();
    let files: Vec<_> = folder.map(|e| e.unwrap().path()).collect();
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let events: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(
        events,
        [
            "1000.000,,,,,,,,,start",
            "1000.015,isp1,icmp:192.0.2.1,2.000,4",
            "1000.020,,,,,,,,,stop"
        ]
    );
}
