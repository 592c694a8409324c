//! Whole replays of hand-made histories with a known truth.

use std::{fmt::Write as _, fs, path::PathBuf};

use super::*;

const FILE: &str = r#"
[uplink.isp1]
interface = "eth1"
[uplink.isp2]
interface = "eth2"
[group.default]
tiers = [["isp1"], ["isp2"]]
[probe]
targets = ["icmp:192.0.2.1", "icmp:192.0.2.2"]
"#;

/// Numbers so slow that a failure of half a minute is missed.
const SLOW: &str = "interval = \"10s\"\nburst = \"10s\"\nfall = 9\n";
/// One lost answer of one target is enough.
const HASTY: &str = "fall = 1\nburst = \"10ms\"\ntimeout = \"50ms\"\nquorum = 2\n";

/// What a line does at a second of the history.
#[derive(Clone, Copy, PartialEq)]
enum Weather {
    Fine,
    Dead,
    /// One answer of one target is lost.
    Blip,
    /// Answers take so many ms.
    Slow(u64),
}

struct Scene {
    dir: tempfile::TempDir,
    trace: String,
}

impl Scene {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            trace: "time,uplink,target,rtt_ms\n".to_owned(),
        }
    }

    /// A sample each second of both targets by both lines, from then on.
    fn seconds(&mut self, from: u64, to: u64, isp1: Weather, isp2: Weather) {
        for second in from..to {
            for (line, weather) in [("isp1", isp1), ("isp2", isp2)] {
                for host in 1..3 {
                    let rtt = match weather {
                        Weather::Fine => (15 + (second * 7 + host) % 5).to_string(),
                        Weather::Slow(ms) => ms.to_string(),
                        Weather::Blip if host == 2 || second != from => "15".to_owned(),
                        Weather::Dead | Weather::Blip => "U".to_owned(),
                    };
                    let at = 1_764_000_000 + second;
                    let _ = writeln!(self.trace, "{at}.{host},{line},192.0.2.{host},{rtt}");
                }
            }
        }
    }

    fn file(&self, name: &str, more: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, format!("{FILE}{more}")).unwrap();
        path
    }

    fn try_with(&self, files: &[&str]) -> Comparison {
        let history = self.dir.path().join("trace.csv");
        fs::write(&history, &self.trace).unwrap();
        let files: Vec<_> = (0..)
            .zip(files)
            .map(|(n, more)| self.file(&format!("{n}.toml"), more))
            .collect();
        match run(&[history], &files) {
            Ok(comparison) => comparison,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// The first line's report of the first file.
fn isp1(comparison: &Comparison, replay: usize) -> &LineReport {
    let lines = &comparison.replays[replay].lines;
    lines.iter().find(|l| l.uplink == "isp1").unwrap()
}

use Weather::{Blip, Dead, Fine, Slow};

#[test]
fn a_death_leads_to_a_failover_and_back_and_both_are_right() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    scene.seconds(60, 90, Dead, Fine);
    scene.seconds(90, 150, Fine, Fine);
    let comparison = scene.try_with(&[""]);
    let replayed = &comparison.replays[0];
    let moves: Vec<_> = replayed
        .switches
        .iter()
        .map(|s| (s.before.join(","), s.after.join(",")))
        .collect();
    let step = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(moves, [step("isp1", "isp2"), step("isp2", "isp1")]);
    let report = isp1(&comparison, 0);
    assert_eq!(
        (report.failovers, report.needless, report.missed),
        (1, 0, 0)
    );
    // Nobody knows before the first question that is lost, a second later at most.
    assert!(report.outage.as_secs_f64() > 0.1, "{:?}", report.outage);
    assert!(report.outage.as_secs_f64() < 3.0, "{:?}", report.outage);
    assert!(report.seconds.down.as_secs_f64() > 25.0);
    assert_eq!(comparison.lines[0].deaths, 1);
    assert!(comparison.is_good());
}

#[test]
fn single_losses_move_nobody_with_the_default_and_a_hasty_file_is_told_that_it_is() {
    let mut scene = Scene::new();
    for minute in 0..10 {
        scene.seconds(minute * 60, minute * 60 + 30, Fine, Fine);
        scene.seconds(minute * 60 + 30, minute * 60 + 60, Blip, Fine);
    }
    let comparison = scene.try_with(&["", HASTY]);
    assert_eq!(isp1(&comparison, 0).failovers, 0);
    assert_eq!(comparison.lines[0].deaths, 0);
    let hasty = isp1(&comparison, 1);
    assert!(hasty.failovers > 0);
    assert_eq!(hasty.needless, hasty.failovers);
    assert!(!comparison.is_good());
}

#[test]
fn what_a_slow_file_misses_is_counted() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    scene.seconds(60, 90, Dead, Fine);
    scene.seconds(90, 150, Fine, Fine);
    let comparison = scene.try_with(&["", SLOW]);
    let slow = isp1(&comparison, 1);
    assert_eq!((slow.failovers, slow.missed), (0, 1));
    assert!(slow.outage.as_secs_f64() > 29.0, "{:?}", slow.outage);
    assert!(!comparison.is_good());
}

#[test]
fn where_all_lines_are_dead_nobody_missed_anything() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    scene.seconds(60, 90, Dead, Dead);
    scene.seconds(90, 150, Fine, Fine);
    let comparison = scene.try_with(&[""]);
    let report = isp1(&comparison, 0);
    assert_eq!((report.missed, report.needless), (0, 0));
    assert!(report.outage.is_zero());
}

#[test]
fn a_line_that_is_too_slow_for_the_file_is_left_rightly() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    scene.seconds(60, 120, Slow(250), Fine);
    let limits = "rtt = { degraded = \"100ms\" }\n";
    let yields = "[group.default]\ntiers = [[\"isp1\", \"isp2\"]]\n";
    let one_tier = FILE.replace(
        "[group.default]\ntiers = [[\"isp1\"], [\"isp2\"]]\n",
        yields,
    );
    fs::write(scene.dir.path().join("trace.csv"), &scene.trace).unwrap();
    let file = scene.dir.path().join("one.toml");
    fs::write(&file, format!("{one_tier}{limits}")).unwrap();
    let comparison = run(&[scene.dir.path().join("trace.csv")], &[file]).unwrap();
    let report = isp1(&comparison, 0);
    assert_eq!(
        (report.failovers, report.needless),
        (1, 0),
        "{comparison:?}"
    );
    assert!(report.seconds.degraded.as_secs_f64() > 40.0);
}

#[test]
fn times_in_which_nobody_recorded_are_left_out() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    scene.seconds(36_000, 36_060, Fine, Fine);
    let comparison = scene.try_with(&[""]);
    assert_eq!(comparison.length.as_secs(), 118);
    assert_eq!(isp1(&comparison, 0).failovers, 0);
    assert!(isp1(&comparison, 0).seconds.up.as_secs() <= 120);
    let said = comparison
        .notes
        .iter()
        .any(|n| n.contains("nothing was recorded 1 times"));
    assert!(said, "{:?}", comparison.notes);
}

#[test]
fn the_same_history_gives_the_same_answer() {
    let mut scene = Scene::new();
    for n in 0..20 {
        scene.seconds(n * 10, n * 10 + 7, Fine, Blip);
        scene.seconds(n * 10 + 7, n * 10 + 10, Blip, Fine);
    }
    let json = || serde_json::to_string(&scene.try_with(&["", HASTY])).unwrap();
    assert_eq!(json(), json());
}

#[test]
fn a_recorded_loss_of_the_link_is_replayed_as_one() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    let event = "1764000060.0,isp1,,,4,,,,,down (link): no carrier\n";
    let header = scene.trace.lines().next().unwrap().to_owned();
    let columns = uplinkd_model::record::COLUMNS.join(",");
    scene.trace = scene.trace.replace(&header, &columns) + event;
    for second in 60..90 {
        let _ = writeln!(
            scene.trace,
            "{}.5,isp2,192.0.2.1,15",
            1_764_000_000 + second
        );
    }
    scene.seconds(90, 120, Fine, Fine);
    let comparison = scene.try_with(&[""]);
    let report = isp1(&comparison, 0);
    assert_eq!((report.failovers, report.needless), (1, 0), "{report:?}");
    assert!(report.changes.iter().any(|c| c.reason == "no carrier"));
    assert!(report.outage.as_millis() < 100, "{:?}", report.outage);
    assert_eq!(comparison.recorded[0].text, "down (link): no carrier");
}

#[test]
fn a_link_is_lost_to_both_families_at_once() {
    let mut scene = Scene::new();
    let columns = uplinkd_model::record::COLUMNS.join(",");
    scene.trace = columns + "\n";
    for tenth in 0..900 {
        let time = 1_764_000_000.0 + f64::from(tenth) / 10.0;
        for (family, address) in [("4", "192.0.2.1"), ("6", "2001:db8::1")] {
            let is_gone = tenth >= 300 && tenth < if family == "4" { 600 } else { 615 };
            if !is_gone {
                let _ = writeln!(scene.trace, "{time},isp1,{address},15,{family}");
            }
            let _ = writeln!(scene.trace, "{time},isp2,{address},15,{family}");
        }
        // The second was told a moment later, and was asked again later.
        if tenth == 300 {
            for (family, later) in [("4", 0.001), ("6", 0.003)] {
                let time = time + later;
                let event = "down (link): no carrier";
                let _ = writeln!(scene.trace, "{time},isp1,,,{family},,,,,{event}");
            }
        }
    }
    let comparison = scene.try_with(&[""]);
    let lines = &comparison.replays[0].lines;
    let own: Vec<_> = lines.iter().filter(|l| l.uplink == "isp1").collect();
    assert_eq!(own.len(), 2, "{lines:?}");
    for report in own {
        assert_eq!((report.failovers, report.needless), (1, 0), "{report:?}");
    }
}

#[test]
fn what_does_not_fit_together_is_said() {
    let mut scene = Scene::new();
    scene.seconds(0, 10, Fine, Fine);
    scene.trace = scene
        .trace
        .replace("isp1", "wan_a")
        .replace("isp2", "wan_b");
    let history = scene.dir.path().join("trace.csv");
    fs::write(&history, &scene.trace).unwrap();
    let Err(ReplayError::Apart(text)) = run(&[history], &[scene.file("a.toml", "")]) else {
        panic!("they fit");
    };
    assert!(
        text.contains("wan_a, wan_b") && text.contains("isp1, isp2"),
        "{text}"
    );
}

#[test]
fn other_hosts_stand_in_for_those_that_were_not_asked() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, Fine, Fine);
    scene.seconds(60, 90, Dead, Fine);
    scene.seconds(90, 120, Fine, Fine);
    scene.trace = scene.trace.replace("192.0.2.", "host-");
    let comparison = scene.try_with(&[""]);
    assert_eq!(isp1(&comparison, 0).failovers, 1);
    let said = comparison
        .notes
        .iter()
        .any(|n| n.contains("host-1 answers for it"));
    assert!(said, "{:?}", comparison.notes);
}
