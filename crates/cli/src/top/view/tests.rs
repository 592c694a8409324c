use std::time::Duration;

use ratatui::{Terminal, backend::TestBackend, buffer::Buffer, crossterm::event::Event as Input};
use uplinkd_api::{State, Status, TrialStatus, UplinkStatus, WishStatus};
use uplinkd_model::Family;

use super::*;
use crate::{
    render::{
        status::tests::{NOW, counted, failing, group, status, uplink},
        words::is_unsafe,
    },
    top::state::Fact,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn all_is_well_in_80_by_24() {
    check(
        &watched(20),
        (80, 24),
        "\
The internet is up, for 3 h 12 min now, through isp1 (60%) and isp2 (40%).
internet through isp1 and isp2
  UPLINK HEALTH        RTT               LOSS              IN b/s OUT b/s  FLOWS
> isp1   up        21.0 ms ▃▃▄▄▄▅▅▆▆▆▇▇█  50% ▄         ▄    100M     10M    12k
  isp2   up        12.3 ms █████████████   0%                 10M    1.0M    420
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer; icmp:1.1.1.1 answers (21.0
    ms)
group default: isp1 (60%) + isp2 (40%)
EVENTS (UTC)
18:44:19 info the daemon has started
18:44:20 info group default (IPv4): isp1 (3) + isp2 (2) instead of nothing












j/k choose   d drain   u undrain   p probe   ? help   q quit
",
    );
}

#[test]
fn narrow_keeps_what_matters() {
    check(
        &watched(20),
        (40, 12),
        "\
The internet is up, for 3 h 12 min now,
through isp1 (60%) and isp2 (40%).
  UPLINK HEALTH        RTT LOSS  IN b/s
> isp1   up        21.0 ms  50%    100M
  isp2   up        12.3 ms   0%     10M
    eth-isp1 via 192.0.2.1: 1 of 1
    targets answer; icmp:1.1.1.1 answers
EVENTS (UTC)
18:44:19 info the daemon has started
18:44:20 info group default (IPv4): isp1
  (3) + isp2 (2) instead of nothing
j k d u p   ? help   q quit
",
    );
}

#[test]
fn tall_and_wide_has_more_past_and_more_events() {
    let mut top = watched(70);
    for n in 0..40 {
        top.take(happened(n, Level::Info, "another thing"), SECOND * 70);
    }
    check(&top, (110, 30), "\
The internet is up, for 3 h 13 min now, through isp1 (60%) and isp2 (40%).
internet through isp1 and isp2
  UPLINK HEALTH        RTT                                 LOSS                          IN b/s OUT b/s  FLOWS
> isp1   up        11.0 ms █ ▁▁▁▂▂▃▃▃▄▄▄▅▅▆▆▆▇▇█ ▁▁▁▂▂▃▃▃▄  50%   ▄         ▄         ▄    100M     10M    12k
  isp2   up        12.3 ms ███████████████████████████████   0%                             10M    1.0M    420
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer; icmp:1.1.1.1 answers (11.0 ms)
group default: isp1 (60%) + isp2 (40%)
EVENTS (UTC)
18:44:38 info another thing
18:44:39 info another thing
18:44:40 info another thing
18:44:41 info another thing
18:44:42 info another thing
18:44:43 info another thing
18:44:44 info another thing
18:44:45 info another thing
18:44:46 info another thing
18:44:47 info another thing
18:44:48 info another thing
18:44:49 info another thing
18:44:50 info another thing
18:44:51 info another thing
18:44:52 info another thing
18:44:53 info another thing
18:44:54 info another thing
18:44:55 info another thing
18:44:56 info another thing
18:44:57 info another thing
18:44:58 info another thing
j/k choose   d drain   u undrain   p probe   ? help   q quit
");
}

#[test]
fn a_cut_line_says_so_in_words() {
    let mut top = watched(9);
    let mut cut = known(10);
    cut.state = State::Degraded;
    cut.summary = "internet through isp2; isp1 is down: 0 of 1 targets answer".to_owned();
    cut.groups = vec![group("default", &[("isp2", 1.0)])];
    let line = cut.uplinks.remove(0);
    let mut line = failing(line);
    (line.health, line.in_service) = (Health::Down, false);
    line.reason = "0 of 1 targets answer, 1 needed".to_owned();
    cut.uplinks.insert(0, line);
    for n in 10..14 {
        cut.time += 1.0;
        top.take(Fact::Status(Box::new(cut.clone())), SECOND * n);
    }
    let text = "uplink isp1 (IPv4) went from up to down: 0 of 1 targets answer, 1 needed";
    top.take(happened(2, Level::Warn, text), SECOND * 14);
    check(
        &top,
        (80, 24),
        "\
The internet is up, but not fully, for 3 h 12 min now, through isp2 (100%).
internet through isp2; isp1 is down: 0 of 1 targets answer
  UPLINK HEALTH        RTT               LOSS              IN b/s OUT b/s  FLOWS
> isp1   down            - ▁▂▃▄▄▅▆▇█×××× 100%        ████       0       0    12k
  isp2   up        12.3 ms █████████████   0%                   0       0    420
    eth-isp1 via 192.0.2.1: 0 of 1 targets answer, 1 needed; icmp:1.1.1.1 fails
    (100% lost)
group default: isp2 (100%)
EVENTS (UTC)
18:44:19 info the daemon has started
18:44:20 info group default (IPv4): isp1 (3) + isp2 (2) instead of nothing
18:44:21 warn uplink isp1 (IPv4) went from up to down: 0 of 1 targets answer, 1
  needed










j/k choose   d drain   u undrain   p probe   ? help   q quit
",
    );
}

#[test]
fn a_daemon_that_is_away_is_said_and_what_is_old_is_called_old() {
    let mut top = watched(9);
    for n in 10..15 {
        let why = "cannot reach uplinkd at /run/uplinkd/uplinkd.sock: Connection refused";
        top.take(Fact::Away(why.to_owned()), SECOND * n);
    }
    check(
        &top,
        (80, 16),
        "\
uplinkd does not answer, for 4 s now: cannot reach uplinkd at
/run/uplinkd/uplinkd.sock: Connection refused. What is below was so before.
  UPLINK HEALTH        RTT               LOSS              IN b/s OUT b/s  FLOWS
> isp1   up              - ▂▃▄▄▅▆▇█×××××   0%       ×××××       -       -    12k
  isp2   up              - ████████×××××   0%       ×××××       -       -    420
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer; icmp:1.1.1.1 answers (10.0
    ms)
EVENTS (UTC)
18:44:19 info the daemon has started
18:44:20 info group default (IPv4): isp1 (3) + isp2 (2) instead of nothing





j/k choose   d drain   u undrain   p probe   ? help   q quit
",
    );
    let mut top = Top::default();
    top.take(Fact::Away("cannot reach uplinkd".to_owned()), SECOND);
    check(
        &top,
        (60, 8),
        "\
uplinkd does not answer, for 0 s now: cannot reach uplinkd.
EVENTS (UTC): none known





j k d u p   ? help   q quit
",
    );
}

#[test]
fn a_question_a_drain_and_a_trial() {
    let mut top = watched(9);
    top.mode = Mode::Ask(Order::Drain("isp1".to_owned()));
    let wish = |until| WishStatus {
        who: "root (uid 0)".to_owned(),
        why: Some("new modem".to_owned()),
        until,
    };
    let mut now = known(10);
    now.trial = Some(TrialStatus {
        who: "root (uid 0)".to_owned(),
        why: None,
        until: now.time + 42.0,
    });
    now.uplinks[0].drained = Some(wish(Some(now.time + 7200.0)));
    now.uplinks[0].idle = true;
    top.take(Fact::Status(Box::new(now)), SECOND * 10);
    check(
        &top,
        (80, 16),
        "\
The internet is up, for 3 h 12 min now, through isp1 (60%) and isp2 (40%).
internet through isp1 and isp2
The configuration is on trial (root (uid 0)) and goes back in 42 s: `uplinkctl
  UPLINK HEALTH        RTT               LOSS              IN b/s OUT b/s  FLOWS
> isp1   drained   12.0 ms    ▁▂▂▃▄▄▅▆▆█   0%                100M     10M    12k
  isp2   up        12.3 ms    ██████████   0%                 10M    1.0M    420
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer; drained for 2 h 0 min more
    (root (uid 0): new modem); icmp:1.1.1.1 answers (12.0 ms)
EVENTS (UTC)
18:44:19 info the daemon has started
18:44:20 info group default (IPv4): isp1 (3) + isp2 (2) instead of nothing




Drain isp1? New connections avoid it, its own stay.  y = yes, else no
",
    );
}

#[test]
fn two_families_of_an_interface_share_its_traffic() {
    let mut top = Top::default();
    for n in 0..3 {
        let mut now = known(n);
        let mut v6 = now.uplinks[0].clone();
        v6.family = Family::V6;
        now.uplinks.insert(1, v6);
        top.take(Fact::Status(Box::new(now)), SECOND * n);
    }
    check(
        &top,
        (80, 14),
        "\
The internet is up, for 3 h 12 min now, through isp1 (60%) and isp2 (40%) with
IPv4.
  UPLINK    HEALTH        RTT             LOSS             IN b/s OUT b/s  FLOWS
> isp1 IPv4 up         4.0 ms         ▄▆█   0%               100M     10M    12k
  isp1 IPv6 up         4.0 ms         ▄▆█   0%                               12k
  isp2 IPv4 up        12.3 ms         ███   0%                10M    1.0M    420
    eth-isp1 via 192.0.2.1: 1 of 1 targets answer; icmp:1.1.1.1 answers (4.0 ms)
EVENTS (UTC): none yet





j/k choose   d drain   u undrain   p probe   ? help   q quit
",
    );
}

#[test]
fn help_fits() {
    let mut top = watched(3);
    top.mode = Mode::Help;
    check(
        &top,
        (80, 24),
        "\
The internet is up, for 3 h 12 min now, through isp1 (60%) and isp2 (40%).
internet through isp1 and isp2
  UPLINK HEALTH        RTT               LOSS              IN b/s OUT b/s  FLOWS
> isp1   up   ┌ uplinkctl top: any key goes back ────────────────┐    10M    12k
  isp2   up   │j k, arrows   choose an uplink                    │   1.0M    420
    eth-isp1 v│ d             drain it: no new connections       │swers (4.0 ms)
group default:│ u             undrain it: as before              │
EVENTS (UTC)  │ p             probe it: ask all its targets      │
18:44:19 info │ ?             this                               │
18:44:20 info │ q, Esc        quit                               │ nothing
              │                                                  │
              │ RTT, LOSS     best of the targets that decide;   │
              │               behind them the last minutes, a    │
              │               second a sign, newest to the right;│
              │               × is a second without an answer    │
              │ IN, OUT       bits per second now, of the        │
              │               interface, both families together  │
              │ FLOWS         connections on it                  │
              │                                                  │
              │ Draining asks first, and is for who may change   │
              │ something, as with `uplinkctl drain`.            │
              └──────────────────────────────────────────────────┘

j/k choose   d drain   u undrain   p probe   ? help   q quit
",
    );
}

#[test]
fn no_size_is_too_small_to_draw() {
    let mut top = watched(30);
    for mode in [
        Mode::Watch,
        Mode::Help,
        Mode::Ask(Order::Undrain("isp1".to_owned())),
    ] {
        top.mode = mode;
        for width in (1..100).step_by(7) {
            for height in (1..30).step_by(3) {
                let _ = buffer(&top, (width, height), true);
            }
        }
    }
    assert!(screen(&top, (10, 3)).contains("24×6"));
}

/// Whatever a daemon, a DHCP server or a user's reason says, the terminal only shows it.
#[test]
fn hostile_words_are_shown_and_not_obeyed() {
    const HOSTILE: &str = "\x1b]0;title\x07\x1b[2J\u{9b}31m\u{202e}evil\r\n\t";
    let mut hostile = known(1);
    hostile.summary = HOSTILE.to_owned();
    hostile.last_problem = Some(HOSTILE.to_owned());
    hostile.rolled_back = Some(HOSTILE.to_owned());
    for uplink in &mut hostile.uplinks {
        uplink.name = HOSTILE.to_owned();
        uplink.interface = HOSTILE.to_owned();
        uplink.reason = HOSTILE.to_owned();
        uplink.prefix = Some(HOSTILE.to_owned());
        uplink.targets[0].target = HOSTILE.to_owned();
        uplink.targets[0].refusal = Some(HOSTILE.to_owned());
        uplink.drained = Some(WishStatus {
            who: HOSTILE.to_owned(),
            why: Some(HOSTILE.to_owned()),
            until: None,
        });
    }
    hostile.groups = vec![group(HOSTILE, &[(HOSTILE, 1.0)])];
    let mut top = Top::default();
    top.take(Fact::Status(Box::new(hostile)), SECOND);
    top.take(happened(1, Level::Warn, HOSTILE), SECOND);
    top.take(Fact::Away(HOSTILE.to_owned()), SECOND);
    let away = buffer(&top, (80, 40), true);
    let back = top.status.clone().unwrap();
    top.take(Fact::Status(Box::new(back)), SECOND * 2);
    top.mode = Mode::Ask(Order::Drain(HOSTILE.to_owned()));
    for buffer in [away, buffer(&top, (80, 40), true)] {
        let cells = buffer.content().iter();
        let signs: String = cells.map(|c| c.symbol()).collect();
        assert!(!signs.chars().any(is_unsafe), "{signs:?}");
        assert!(signs.contains("\\u{1b}"), "{signs}");
    }
}

/// Colour repeats what words say; without it nothing is coloured, and the words are the same.
#[test]
fn without_colour_nothing_is_coloured_and_nothing_is_lost() {
    let mut top = watched(5);
    let mut down = known(6);
    down.uplinks[0].health = Health::Down;
    top.take(Fact::Status(Box::new(down)), SECOND * 6);
    let (with, without) = (buffer(&top, (80, 24), true), buffer(&top, (80, 24), false));
    let is_coloured = |b: &Buffer| {
        let mut cells = b.content().iter();
        cells.any(|c| c.fg != Color::Reset || c.bg != Color::Reset)
    };
    assert!(is_coloured(&with) && !is_coloured(&without));
    assert_eq!(text(&with), text(&without));
}

#[test]
fn another_size_is_taken_at_the_next_picture() {
    let mut top = watched(5);
    let then = top.take(Fact::Terminal(Input::Resize(60, 20)), SECOND * 6);
    assert_eq!(then, crate::top::state::Then::GoOn);
    let lines = screen(&top, (60, 20));
    assert!(lines.lines().all(|l| l.chars().count() <= 60), "{lines}");
}

/// Two lines that were watched for so many seconds: one with round-trip times that rise, and a second in
/// ten that is lost.
fn watched(seconds: u32) -> Top {
    let mut top = Top::default();
    for n in 0..seconds {
        top.take(Fact::Status(Box::new(known(n))), SECOND * n);
    }
    top.take(
        happened(0, Level::Info, "the daemon has started"),
        SECOND * seconds,
    );
    top.take(
        happened(
            1,
            Level::Info,
            "group default (IPv4): isp1 (3) + isp2 (2) instead of nothing",
        ),
        SECOND * seconds,
    );
    top
}

fn known(second: u32) -> Status {
    let line = |name, share, connections, factor: u64| {
        let mut line: UplinkStatus = counted(uplink(name, Health::Up, share), connections);
        line.received_bytes = Some(u64::from(second) * 1_250_000 * factor);
        line.sent_bytes = Some(u64::from(second) * 125_000 * factor);
        line
    };
    let mut isp1 = line("isp1", 0.6, 12_480, 10);
    isp1.targets[0].last_rtt_ms = Some(f64::from(second % 20) + 2.0);
    isp1.targets[0].loss = if second % 10 == 9 { 0.5 } else { 0.0 };
    Status {
        time: NOW + f64::from(second),
        uplinks: vec![isp1, line("isp2", 0.4, 420, 1)],
        groups: vec![group("default", &[("isp1", 0.6), ("isp2", 0.4)])],
        ..status(State::Up, "internet through isp1 and isp2")
    }
}

fn happened(n: u32, level: Level, text: &str) -> Fact {
    Fact::Event(Box::new(Event {
        id: u64::from(n),
        time: NOW + f64::from(n),
        level,
        kind: "health".to_owned(),
        text: text.to_owned(),
        detail: serde_json::Value::Null,
    }))
}

fn buffer(top: &Top, (width, height): (u16, u16), has_colour: bool) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, top, has_colour)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let rows = buffer.content().chunks(width);
    let row = |cells: &[ratatui::buffer::Cell]| {
        let row: String = cells.iter().map(|c| c.symbol()).collect();
        format!("{}\n", row.trim_end())
    };
    rows.map(row).collect()
}

fn screen(top: &Top, size: (u16, u16)) -> String {
    text(&buffer(top, size, true))
}

fn check(top: &Top, size: (u16, u16), expected: &str) {
    let shown = screen(top, size);
    assert!(shown == expected, "{shown}\ninstead of\n{expected}");
}
