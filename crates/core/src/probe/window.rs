//! The newest results of one target, and what they come to.

use std::{collections::VecDeque, time::Duration};

use crate::{Time, event::ProbeId};

/// Results kept for each target at most: 30 seconds of questions 50 ms apart. The oldest falls out, so
/// that a longer window is judged over fewer seconds during a burst.
const SAMPLES_MAX: usize = 600;

/// What became of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    probe: ProbeId,
    at: Time,
    /// None: no answer, so far.
    rtt: Option<Duration>,
    /// Without an answer: none will count any more.
    is_final: bool,
}

impl Sample {
    fn is_lost(&self) -> bool {
        self.rtt.is_none() && self.is_final
    }
}

/// The newest results of one target, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    samples: VecDeque<Sample>,
    /// Results before are shown, but not judged any more.
    judged_from: Time,
    /// Final results that count, and how many of them were lost: kept, since with thousands of targets
    /// every answer of one asks for those of all others of its line.
    judged: (usize, usize),
}

/// Figures over a window of results.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// How many questions have a result.
    pub asked: usize,
    /// How many of them were not answered.
    pub lost: usize,
    /// The mean round-trip time; none without an answer, as all that follow.
    pub mean: Option<Duration>,
    /// The standard deviation of round-trip times.
    pub deviation: Option<Duration>,
    /// The median round-trip time.
    pub median: Option<Duration>,
    /// The round-trip time that 19 of 20 answers did not exceed.
    pub p95: Option<Duration>,
    /// The mean difference between one round-trip time and the next.
    pub jitter: Option<Duration>,
}

impl Figures {
    /// Lost answers as a part of 1; zero where nothing was asked.
    pub fn loss(&self) -> f64 {
        match self.asked {
            0 => 0.0,
            asked => self.lost as f64 / asked as f64,
        }
    }
}

impl Window {
    /// Notes the result of a question, and forgets what is older than `length`.
    pub(crate) fn push(
        &mut self,
        probe: ProbeId,
        rtt: Option<Duration>,
        now: Time,
        length: Duration,
    ) {
        let oldest = now - length;
        while self.samples.len() >= SAMPLES_MAX
            || self.samples.front().is_some_and(|s| s.at < oldest)
        {
            if let Some(oldest) = self.samples.pop_front() {
                self.judged.0 -= usize::from(self.counts(oldest));
                self.judged.1 -= usize::from(self.counts(oldest) && oldest.is_lost());
            }
        }
        let sample = Sample {
            probe,
            at: now,
            rtt,
            is_final: rtt.is_some(),
        };
        self.judged.0 += usize::from(self.counts(sample));
        self.samples.push_back(sample);
    }

    /// Whether a result is final, and not from before.
    fn counts(&self, sample: Sample) -> bool {
        sample.is_final && sample.at >= self.judged_from
    }

    /// An answer came after all. Says whether the question was still known as lost.
    pub(crate) fn correct(&mut self, probe: ProbeId, rtt: Duration) -> bool {
        let known = self.samples.iter_mut().rev().find(|s| s.probe == probe);
        let Some(sample) = known.filter(|s| s.rtt.is_none()) else {
            return false;
        };
        let before = *sample;
        (sample.rtt, sample.is_final) = (Some(rtt), true);
        if before.at >= self.judged_from {
            self.judged.0 += usize::from(!before.is_final);
            self.judged.1 -= usize::from(before.is_final);
        }
        true
    }

    /// No answer will count any more.
    pub(crate) fn give_up(&mut self, probe: ProbeId) {
        let known = self.samples.iter_mut().rev().find(|s| s.probe == probe);
        if let Some(sample) = known.filter(|s| !s.is_final) {
            sample.is_final = true;
            if sample.at >= self.judged_from {
                self.judged = (self.judged.0 + 1, self.judged.1 + 1);
            }
        }
    }

    /// What was before does not count any more.
    pub(crate) fn start_anew(&mut self, now: Time) {
        self.judged_from = now;
        self.judged = self.samples.iter().fold((0, 0), |(asked, lost), s| {
            let counts = self.counts(*s);
            (
                asked + usize::from(counts),
                lost + usize::from(counts && s.is_lost()),
            )
        });
    }

    /// Questions with a final result that count, and how many of them were lost. What is only missed
    /// may still be answered.
    pub(crate) fn judged(&self) -> (usize, usize) {
        self.judged
    }

    /// How many of the newest results that count are losses in a row.
    pub(crate) fn lost_last(&self) -> usize {
        let judged = self.samples.iter().rev();
        let judged = judged.take_while(|s| s.at >= self.judged_from);
        let results = judged.filter(|s| s.is_final);
        results.take_while(|s| s.is_lost()).count()
    }

    /// Round-trip times that count, oldest first.
    pub(crate) fn judged_rtts(&self) -> impl Iterator<Item = Duration> + '_ {
        let judged = self.samples.iter().filter(|s| s.at >= self.judged_from);
        judged.filter_map(|s| s.rtt)
    }

    /// The newest round-trip time.
    pub(crate) fn last_rtt(&self) -> Option<Duration> {
        self.samples.iter().rev().find_map(|s| s.rtt)
    }

    /// Everything that can be said of it.
    pub(crate) fn figures(&self) -> Figures {
        let rtts: Vec<_> = self.samples.iter().filter_map(|s| s.rtt).collect();
        let asked = self.samples.iter().filter(|s| s.is_final).count();
        let base = Figures {
            asked,
            lost: asked - rtts.len(),
            ..Figures::default()
        };
        if rtts.is_empty() {
            return base;
        }
        let seconds: Vec<_> = rtts.iter().map(Duration::as_secs_f64).collect();
        let mean = average(&seconds);
        let squares: Vec<_> = seconds.iter().map(|s| (s - mean).powi(2)).collect();
        let steps: Vec<_> = seconds.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
        Figures {
            mean: Some(Duration::from_secs_f64(mean)),
            deviation: Some(Duration::from_secs_f64(average(&squares).sqrt())),
            median: quantile(rtts.clone(), 50),
            p95: quantile(rtts, 95),
            jitter: (!steps.is_empty()).then(|| Duration::from_secs_f64(average(&steps))),
            ..base
        }
    }
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The smallest value that so many in a hundred do not exceed; none of no values.
pub(crate) fn quantile(mut values: Vec<Duration>, percent: usize) -> Option<Duration> {
    let last = values.len().checked_sub(1)?;
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    let (_, value, _) = values.select_nth_unstable(index.min(last));
    Some(*value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn window(results: &[Option<u64>]) -> Window {
        let mut window = Window::default();
        for (n, rtt) in (0_u64..).zip(results) {
            window.push(ProbeId(n), rtt.map(ms), Time(ms(n * 100)), ms(10_000));
            window.give_up(ProbeId(n));
        }
        window
    }

    #[test]
    fn figures_are_those_of_the_results() {
        let figures = window(&[Some(10), None, Some(20), Some(30), None]).figures();
        assert_eq!((figures.asked, figures.lost), (5, 2));
        assert!((figures.loss() - 0.4).abs() < 1e-9);
        assert_eq!(figures.mean, Some(ms(20)));
        assert_eq!(figures.median, Some(ms(20)));
        assert_eq!(figures.p95, Some(ms(30)));
        assert_eq!(figures.jitter, Some(ms(10)));
        let deviation = figures.deviation.unwrap().as_secs_f64();
        assert!((deviation - 0.008_165).abs() < 1e-5, "{deviation}");
    }

    #[test]
    fn nothing_and_only_losses_have_no_times() {
        assert_eq!(Window::default().figures(), Figures::default());
        let figures = window(&[None, None]).figures();
        assert_eq!((figures.loss(), figures.mean), (1.0, None));
        let one = window(&[Some(7)]).figures();
        assert_eq!(
            (one.median, one.p95, one.jitter),
            (Some(ms(7)), Some(ms(7)), None)
        );
    }

    #[test]
    fn what_is_older_than_the_window_falls_out_and_so_does_what_is_too_much() {
        let mut window = window(&[None; 10]);
        window.push(ProbeId(10), Some(ms(1)), Time(ms(10_500)), ms(10_000));
        // Those of 0 to 400 ms are gone.
        assert_eq!(window.judged(), (6, 5));
        for n in 0..2 * SAMPLES_MAX as u64 {
            window.push(ProbeId(100 + n), Some(ms(1)), Time(ms(10_500)), ms(10_000));
        }
        assert_eq!(window.judged(), (SAMPLES_MAX, 0));
    }

    #[test]
    fn what_may_still_be_answered_is_no_loss() {
        let mut window = window(&[Some(1), None, None]);
        window.push(ProbeId(7), None, Time(ms(300)), ms(10_000));
        assert_eq!((window.judged(), window.lost_last()), ((3, 2), 2));
        assert_eq!(window.figures().lost, 2);
        window.give_up(ProbeId(7));
        assert_eq!((window.judged(), window.lost_last()), ((4, 3), 3));
        window.push(ProbeId(8), Some(ms(1)), Time(ms(400)), ms(10_000));
        assert_eq!(window.lost_last(), 0);
    }

    /// What [`Window::judged`] says, counted anew.
    fn counted(window: &Window) -> (usize, usize) {
        let judged = window.samples.iter().filter(|s| s.at >= window.judged_from);
        let results: Vec<_> = judged.filter(|s| s.is_final).collect();
        let lost = results.iter().filter(|s| s.is_lost()).count();
        (results.len(), lost)
    }

    #[test]
    fn what_is_kept_is_what_could_be_counted() {
        let mut window = Window::default();
        let mut dice = 7_u64;
        let mut throw = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % sides
        };
        for n in 0..20_000_u64 {
            let now = Time(ms(n * 10));
            let probe = ProbeId(n - throw(20).min(n));
            match throw(5) {
                0 => window.push(ProbeId(n), Some(ms(1)), now, ms(3000)),
                1 | 2 => window.push(ProbeId(n), None, now, ms(3000)),
                3 => window.give_up(probe),
                _ if throw(40) == 0 => window.start_anew(now),
                _ => {
                    window.correct(probe, ms(9));
                }
            }
            assert_eq!(window.judged(), counted(&window), "after {n}");
        }
    }

    #[test]
    fn a_late_answer_corrects_its_own_question_once() {
        let mut window = window(&[Some(1), None, None]);
        assert!(window.correct(ProbeId(1), ms(400)));
        assert!(!window.correct(ProbeId(1), ms(400)), "known as answered");
        assert!(!window.correct(ProbeId(9), ms(400)), "never asked");
        assert_eq!(window.judged(), (3, 1));
        assert_eq!(window.last_rtt(), Some(ms(400)));
    }

    #[test]
    fn results_from_before_are_shown_and_not_judged() {
        let mut window = window(&[None, None, Some(5)]);
        window.start_anew(Time(ms(200)));
        assert_eq!(window.judged(), (1, 0));
        assert_eq!(window.figures().lost, 2);
    }
}
