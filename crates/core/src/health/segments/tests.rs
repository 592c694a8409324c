//! A line whose TCP connections are counted every 100 ms.

use super::*;

#[derive(Default)]
struct Line {
    segments: Segments,
    counters: TcpCounters,
    now: Time,
}

/// What happens between two readings: segments sent, acknowledged, and sent again by each connection.
#[derive(Clone, Copy, Default)]
struct Step<'a> {
    sent: u64,
    acked: u64,
    again: &'a [u64],
}

const WELL: Step<'_> = Step {
    sent: 10,
    acked: 8,
    again: &[],
};

impl Line {
    fn new() -> Self {
        let mut line = Self::default();
        line.run(1, WELL);
        line
    }

    /// So many readings alike. Says what signs there were, each with the number of its reading.
    fn run(&mut self, readings: usize, step: Step<'_>) -> Vec<(usize, Sign)> {
        let mut signs = Vec::new();
        for n in 1..=readings {
            self.now = self.now + Duration::from_millis(100);
            self.counters.sent += step.sent;
            self.counters.acked += step.acked;
            self.counters.rtts += step.acked;
            self.counters.rtt_sum += Duration::from_millis(20 * step.acked);
            for (number, more) in step.again.iter().enumerate() {
                self.counters.again[number] += more;
                self.counters.sent += more;
            }
            let sign = self.segments.take(self.counters, self.now);
            signs.extend(sign.map(|s| (n, s)));
        }
        signs
    }

    fn rest(&mut self, seconds: u64) {
        self.run(
            usize::try_from(seconds).unwrap_or_default() * 10,
            Step::default(),
        );
    }
}

fn again<'a>(again: &'a [u64]) -> Step<'a> {
    Step {
        again,
        ..Step::default()
    }
}

#[test]
fn two_connections_that_send_again_with_nothing_acknowledged_are_a_sign_at_once() {
    let mut line = Line::new();
    assert_eq!(line.run(50, WELL), []);
    assert_eq!(line.run(1, again(&[1, 1])), []);
    assert!(line.segments.is_stalling(line.now));
    let sign = Sign::NothingAcknowledged {
        connections: 2,
        segments: 3,
    };
    assert_eq!(line.run(1, again(&[1])), [(1, sign)]);
    assert_eq!(
        sign.to_string(),
        "2 TCP connections sent 3 segments again and nothing was acknowledged"
    );
}

#[test]
fn one_connection_alone_is_no_sign_however_often_it_tries() {
    let mut line = Line::new();
    assert_eq!(line.run(100, again(&[0, 0, 1])), []);
}

#[test]
fn a_lossy_line_is_no_sign_while_anything_is_acknowledged() {
    let mut line = Line::new();
    let lossy = Step {
        sent: 1,
        acked: 1,
        again: &[1, 0, 1],
    };
    let signs = line.run(100, lossy);
    // That much is sent again is another matter, said once.
    assert!(
        matches!(signs[..], [(_, Sign::MuchSentAgain { .. })]),
        "{signs:?}"
    );
}

#[test]
fn what_an_idle_line_sends_again_now_and_then_is_no_sign() {
    let mut line = Line::new();
    for number in 0..10 {
        let mut one = [0; FLOW_NUMBERS];
        one[number] = 1;
        assert_eq!(line.run(1, again(&one)), []);
        line.rest(3);
    }
    assert!(!line.segments.is_stalling(line.now + STALL_MAX));
}

#[test]
fn an_acknowledgement_in_between_makes_it_begin_anew() {
    let mut line = Line::new();
    line.run(1, again(&[1, 1]));
    let acked = Step {
        acked: 1,
        ..again(&[1, 1])
    };
    assert_eq!(line.run(1, acked), []);
    assert_eq!(line.run(1, again(&[1])), []);
    assert!(!line.run(1, again(&[0, 2])).is_empty());
}

#[test]
fn a_sign_is_given_once_until_something_is_acknowledged() {
    let mut line = Line::new();
    let stalled = again(&[1, 1, 1]);
    assert_eq!(line.run(100, stalled).len(), 1);
    line.segments.was_right();
    assert_eq!(line.run(100, stalled).len(), 0);
    line.run(1, WELL);
    assert_eq!(line.run(100, stalled).len(), 1);
}

#[test]
fn false_alarms_come_ever_more_seldom() {
    // Two hosts that are gone are called all the time, and nothing else happens: an hour of it.
    let mut line = Line::new();
    let mut signs = 0;
    for _ in 0..3600 {
        for _ in line.run(10, again(&[1, 1])) {
            signs += 1;
            line.segments.was_false_alarm(line.now);
        }
    }
    assert!((6..=13).contains(&signs), "{signs}");
    // The day after, the first one is heard at once.
    line.rest(5000);
    line.run(1, WELL);
    assert_eq!(line.run(2, again(&[1, 1])).len(), 1);
}

#[test]
fn one_that_was_right_ends_the_doubt() {
    let mut line = Line::new();
    let stalled = again(&[1, 1, 1]);
    for _ in 0..6 {
        line.rest(700);
        line.run(1, WELL);
        assert_eq!(line.run(5, stalled).len(), 1);
        line.segments.was_false_alarm(line.now);
    }
    line.rest(700);
    line.run(1, WELL);
    assert_eq!(line.run(5, stalled).len(), 1);
    line.segments.was_right();
    line.run(1, WELL);
    assert_eq!(line.run(5, stalled).len(), 1);
    line.segments.was_false_alarm(line.now);
    line.rest(PAUSE_LEAST.as_secs() + 1);
    assert_eq!(line.run(5, stalled).len(), 1);
}

#[test]
fn far_more_sent_again_than_usual_is_a_sign_and_what_is_usual_is_none() {
    let part = |again: u64| Step {
        sent: 100 - again,
        acked: 80,
        again: if again == 2 { &[1, 1] } else { &[10, 10] },
    };
    let mut line = Line::new();
    assert_eq!(line.run(100, part(2)), []);
    let signs = line.run(20, part(20));
    let [(1, sign @ Sign::MuchSentAgain { .. })] = signs[..] else {
        panic!("{signs:?}")
    };
    assert_eq!(
        sign.to_string(),
        "20% of what TCP connections sent was sent again, usually 2%"
    );
    // The probes found nothing: this is how this line is.
    line.segments.was_false_alarm(line.now);
    line.rest(60);
    assert_eq!(line.run(200, part(20)), []);
}

#[test]
fn a_few_segments_prove_nothing() {
    let mut line = Line::new();
    let one_in_four = Step {
        sent: 3,
        acked: 3,
        again: &[1],
    };
    assert_eq!(line.run(10, one_in_four), []);
    // Nor do five among many.
    let five = Step {
        sent: 55,
        acked: 50,
        again: &[5],
    };
    let mut line = Line::new();
    assert_eq!(line.run(1, five), []);
}

#[test]
fn counters_that_begin_again_are_no_sign() {
    let mut line = Line::new();
    line.run(10, WELL);
    line.counters = TcpCounters::default();
    assert_eq!(line.run(1, again(&[5, 5, 5])), []);
    line.segments.start_anew();
    assert_eq!(line.run(1, again(&[5, 5, 5])), []);
}

#[test]
fn figures_are_those_of_the_last_minute() {
    let mut line = Line::default();
    assert_eq!(line.segments.figures(), None);
    line.run(1, WELL);
    assert_eq!(line.segments.figures(), Some(TcpFigures::default()));
    line.run(
        20,
        Step {
            again: &[1],
            ..WELL
        },
    );
    let figures = line.segments.figures().unwrap();
    assert_eq!(figures.rtt, Some(Duration::from_millis(20)));
    assert_eq!((figures.sent, figures.again), (220, 20));
    line.rest(61);
    assert_eq!(line.segments.figures(), Some(TcpFigures::default()));
    assert!(line.segments.slices.len() <= 61);
}
