//! What is known, what is being asked, and what keys mean. Time is handed in.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use ratatui::crossterm::event::{Event as TerminalEvent, KeyCode, KeyEventKind, KeyModifiers};
use uplinkd_api::{Event, Status, UplinkStatus};
use uplinkd_model::Family;

use super::trail::Trail;
use crate::render::words::escape;

/// Events that are kept, more than fit on a screen. The oldest goes.
const EVENTS_MAX: usize = 200;
/// How long an answer to an order stays.
const SAID_FOR: Duration = Duration::from_secs(15);

/// What can come to know.
pub(super) enum Fact {
    /// How things are.
    Status(Box<Status>),
    /// Nobody answers, and why.
    Away(String),
    /// Something happened.
    Event(Box<Event>),
    /// What came of an order, made harmless.
    Said(String),
    /// A key, or another size.
    Terminal(TerminalEvent),
    /// There is none any more.
    TerminalGone,
}

/// What to do for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Drain(String),
    Undrain(String),
    Probe(String),
}

/// What follows from a fact.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    End,
    Do(Order),
}

/// What the keys are for at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Watch,
    Help,
    /// Is this to be done?
    Ask(Order),
}

/// How a line is told from others.
pub(super) type LineKey = (String, Family);

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Top {
    pub(super) now: Duration,
    /// The last that is known.
    pub(super) status: Option<Status>,
    /// Since when nobody answers, and why.
    pub(super) away: Option<(Duration, String)>,
    pub(super) trails: BTreeMap<LineKey, Trail>,
    /// Oldest first.
    pub(super) events: VecDeque<Event>,
    pub(super) mode: Mode,
    selected: Option<LineKey>,
    said: Option<(Duration, String)>,
    /// An order was given, and its answer has not come.
    is_waiting: bool,
}

impl Top {
    /// Takes a fact.
    pub(super) fn take(&mut self, fact: Fact, now: Duration) -> Then {
        self.now = now;
        match fact {
            Fact::Status(status) => self.know(*status),
            Fact::Away(why) => self.miss(why),
            Fact::Event(event) => {
                self.events.push_back(*event);
                if self.events.len() > EVENTS_MAX {
                    self.events.pop_front();
                }
            }
            Fact::Said(text) => {
                self.is_waiting = false;
                self.say(text);
            }
            Fact::Terminal(event) => return self.terminal(&event),
            Fact::TerminalGone => return Then::End,
        }
        Then::GoOn
    }

    /// Time has passed.
    pub(super) fn pass(&mut self, now: Duration) {
        self.now = now;
        let is_old = |(at, _): &(Duration, String)| now.saturating_sub(*at) > SAID_FOR;
        if self.said.as_ref().is_some_and(is_old) {
            self.said = None;
        }
    }

    /// The lines that are there, in the order of the file.
    pub(super) fn lines(&self) -> Vec<&UplinkStatus> {
        let lines = self.status.iter().flat_map(|s| &s.uplinks);
        lines.filter(|u| !u.absent).collect()
    }

    /// Which of them is chosen.
    pub(super) fn chosen(&self) -> usize {
        let is_chosen = |u: &&UplinkStatus| self.selected.as_ref() == Some(&key(u));
        self.lines().iter().position(is_chosen).unwrap_or_default()
    }

    /// The last word of an order, while it is fresh.
    pub(super) fn said(&self) -> Option<&str> {
        self.said.as_ref().map(|(_, text)| text.as_str())
    }

    fn know(&mut self, status: Status) {
        if self.away.take().is_some() {
            self.say("uplinkd is back".to_owned());
        }
        for uplink in &status.uplinks {
            let trail = self.trails.entry(key(uplink)).or_default();
            trail.add(uplink, status.time, self.now);
        }
        let is_there = |k: &LineKey| status.uplinks.iter().any(|u| key(u) == *k);
        self.trails.retain(|k, _| is_there(k));
        self.status = Some(status);
    }

    fn miss(&mut self, why: String) {
        let since = self.away.take().map_or(self.now, |(since, _)| since);
        self.away = Some((since, escape(&why)));
        for trail in self.trails.values_mut() {
            trail.miss(self.now);
        }
    }

    fn say(&mut self, text: String) {
        self.said = Some((self.now, text));
    }

    fn terminal(&mut self, event: &TerminalEvent) -> Then {
        let Some(key) = event.as_key_event() else {
            return Then::GoOn; // Another size: the next picture has it.
        };
        if key.kind == KeyEventKind::Release {
            return Then::GoOn;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Then::End;
        }
        if is_control {
            return Then::GoOn;
        }
        match std::mem::take(&mut self.mode) {
            // The key that ends the help does nothing else.
            Mode::Help => Then::GoOn,
            Mode::Ask(order) if matches!(key.code, KeyCode::Char('y' | 'Y')) => self.order(order),
            Mode::Ask(_) => {
                self.say("nothing was done".to_owned());
                Then::GoOn
            }
            Mode::Watch => self.watch(key.code),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all other keys mean nothing"
    )]
    fn watch(&mut self, code: KeyCode) -> Then {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Then::End,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Up | KeyCode::Char('k') => self.choose(self.chosen().saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.choose(self.chosen() + 1),
            KeyCode::Home => self.choose(0),
            KeyCode::End => self.choose(usize::MAX),
            KeyCode::Char(c @ ('d' | 'u' | 'p')) => return self.about(c),
            _ => {}
        }
        Then::GoOn
    }

    fn choose(&mut self, index: usize) {
        let lines = self.lines();
        let chosen = lines.get(index).or(lines.last()).map(|u| key(u));
        self.selected = chosen.or(self.selected.take());
    }

    /// An order about the uplink that is chosen.
    fn about(&mut self, c: char) -> Then {
        let chosen = self.lines().get(self.chosen()).map(|u| (*u).clone());
        let Some(uplink) = chosen else {
            return Then::GoOn;
        };
        // Kept, so that a list that moves does not change what the question is about.
        self.selected = Some(key(&uplink));
        let name = uplink.name;
        let harmless = escape(&name);
        match (c, uplink.drained.is_some()) {
            ('d', true) => self.say(format!("{harmless} is drained already; `u` ends it")),
            ('u', false) => self.say(format!("{harmless} is not drained")),
            ('d', false) => self.mode = Mode::Ask(Order::Drain(name)),
            ('u', true) => self.mode = Mode::Ask(Order::Undrain(name)),
            (_, _) => return self.order(Order::Probe(name)),
        }
        Then::GoOn
    }

    fn order(&mut self, order: Order) -> Then {
        if self.away.is_some() {
            self.say("uplinkd does not answer: nothing was done".to_owned());
            return Then::GoOn;
        }
        // A key that is held down is one order.
        if self.is_waiting {
            self.say("the last order is not done yet".to_owned());
            return Then::GoOn;
        }
        self.is_waiting = true;
        if let Order::Probe(name) = &order {
            self.say(format!("asking the targets of {} …", escape(name)));
        }
        Then::Do(order)
    }
}

pub(super) fn key(uplink: &UplinkStatus) -> LineKey {
    (uplink.name.clone(), uplink.family)
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;
    use uplinkd_api::{State, WishStatus};
    use uplinkd_model::Health;

    use super::*;
    use crate::render::status::tests::{status, uplink};

    const SECOND: Duration = Duration::from_secs(1);

    fn top() -> Top {
        let mut top = Top::default();
        let mut known = status(State::Up, "");
        for name in ["isp1", "isp2"] {
            known.uplinks.push(uplink(name, Health::Up, 0.5));
        }
        known.uplinks[1].drained = Some(WishStatus {
            who: "root".to_owned(),
            why: None,
            until: None,
        });
        top.take(Fact::Status(Box::new(known)), SECOND);
        top
    }

    fn press(top: &mut Top, code: KeyCode) -> Then {
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        top.take(Fact::Terminal(TerminalEvent::Key(key)), SECOND)
    }

    fn letter(top: &mut Top, c: char) -> Then {
        press(top, KeyCode::Char(c))
    }

    #[test]
    fn draining_is_asked_about_first_and_only_yes_means_yes() {
        let mut top = top();
        let drain = || Order::Drain("isp1".to_owned());
        assert_eq!(letter(&mut top, 'd'), Then::GoOn);
        assert_eq!(top.mode, Mode::Ask(drain()));
        for no in [
            KeyCode::Char('n'),
            KeyCode::Enter,
            KeyCode::Esc,
            KeyCode::Char('q'),
        ] {
            top.mode = Mode::Ask(drain());
            assert_eq!(press(&mut top, no), Then::GoOn);
            assert_eq!(
                (&top.mode, top.said()),
                (&Mode::Watch, Some("nothing was done"))
            );
        }
        letter(&mut top, 'd');
        assert_eq!(letter(&mut top, 'y'), Then::Do(drain()));
        assert_eq!(top.mode, Mode::Watch);
    }

    #[test]
    fn what_is_done_already_is_not_asked_about() {
        let mut top = top();
        assert_eq!(letter(&mut top, 'u'), Then::GoOn);
        assert_eq!(
            (&top.mode, top.said()),
            (&Mode::Watch, Some("isp1 is not drained"))
        );
        press(&mut top, KeyCode::Down);
        letter(&mut top, 'd');
        assert_eq!(top.mode, Mode::Watch);
        letter(&mut top, 'u');
        assert_eq!(
            letter(&mut top, 'y'),
            Then::Do(Order::Undrain("isp2".to_owned()))
        );
        assert_eq!(letter(&mut top, 'p'), Then::GoOn, "one after the other");
        top.take(Fact::Said("done".to_owned()), SECOND);
        assert_eq!(
            letter(&mut top, 'p'),
            Then::Do(Order::Probe("isp2".to_owned()))
        );
    }

    #[test]
    fn the_choice_stays_with_its_line_and_within_the_list() {
        let mut top = top();
        for _ in 0..5 {
            letter(&mut top, 'j');
        }
        assert_eq!(top.chosen(), 1);
        let mut known = top.status.clone().unwrap();
        known.uplinks.insert(0, uplink("isp0", Health::Up, 0.5));
        top.take(Fact::Status(Box::new(known.clone())), SECOND * 2);
        assert_eq!(top.chosen(), 2);
        known.uplinks.truncate(1);
        top.take(Fact::Status(Box::new(known)), SECOND * 3);
        assert_eq!(top.chosen(), 0);
        press(&mut top, KeyCode::Up);
        assert_eq!(top.chosen(), 0);
        // With nothing there keys mean nothing.
        let mut empty = Top::default();
        for c in ['d', 'u', 'p', 'j', 'k'] {
            assert_eq!(letter(&mut empty, c), Then::GoOn);
            assert_eq!(empty.mode, Mode::Watch);
        }
    }

    #[test]
    fn an_order_to_nobody_is_not_given() {
        let mut top = top();
        letter(&mut top, 'd');
        top.take(Fact::Away("gone".to_owned()), SECOND * 2);
        assert_eq!(letter(&mut top, 'y'), Then::GoOn);
        assert!(top.said().unwrap().contains("does not answer"));
        let known = top.status.clone().unwrap();
        top.take(Fact::Status(Box::new(known)), SECOND * 3);
        assert_eq!(
            (top.away.as_ref(), top.said()),
            (None, Some("uplinkd is back"))
        );
        top.pass(SECOND * 60);
        assert_eq!(top.said(), None);
    }

    #[test]
    fn keys_end_it() {
        for c in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(press(&mut top(), c), Then::End);
        }
        let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut top = top();
        top.mode = Mode::Ask(Order::Probe(String::new()));
        let then = top.take(Fact::Terminal(TerminalEvent::Key(key)), SECOND);
        assert_eq!(then, Then::End);
        assert_eq!(top.take(Fact::TerminalGone, SECOND), Then::End);
        letter(&mut top, 'n');
        letter(&mut top, '?');
        assert_eq!(top.mode, Mode::Help);
        assert_eq!(letter(&mut top, 'q'), Then::GoOn, "ends the help alone");
    }
}
