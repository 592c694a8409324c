//! Puts what is known on a screen of any size.
//!
//! Colour and boldness only repeat what the words say. Everything from the daemon is made harmless
//! first, and cut where it does not fit: `uplinkctl status` has all of it.

mod columns;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Block, Clear, Paragraph},
};
use uplinkd_api::{Event, Level, State};
use uplinkd_model::Health;

use self::columns::Columns;
use super::state::{Mode, Order, Top};
use crate::render::{
    status::{self, Note},
    words::{escape, moment, paragraph_within, span},
};

/// Below this nothing can be said.
const WIDTH_LEAST: u16 = 24;
const HEIGHT_LEAST: u16 = 6;
/// From this height on groups are shown.
const HEIGHT_FOR_GROUPS: u16 = 20;

const KEYS: &str = "j/k choose   d drain   u undrain   p probe   ? help   q quit";
const KEYS_SHORT: &str = "j k d u p   ? help   q quit";

const HELP: &str = "\
 j k, arrows   choose an uplink
 d             drain it: no new connections
 u             undrain it: as before
 p             probe it: ask all its targets
 ?             this
 q, Esc        quit

 RTT, LOSS     best of the targets that decide;
               behind them the last minutes, a
               second a sign, newest to the right;
               × is a second without an answer
 IN, OUT       bits per second now, of the
               interface, both families together
 FLOWS         connections on it

 Draining asks first, and is for who may change
 something, as with `uplinkctl drain`.";

/// How things look, where colour is wanted and where it is not.
#[derive(Clone, Copy)]
struct Look {
    has_colour: bool,
}

impl Look {
    fn in_colour(self, colour: Color) -> Style {
        match self.has_colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn health(self, health: Health) -> Style {
        match health {
            Health::Unknown => Style::new(),
            Health::Up => self.in_colour(Color::Green),
            Health::Degraded => self.in_colour(Color::Yellow),
            Health::Down => self.in_colour(Color::Red).bold(),
        }
    }

    fn doubtful(self) -> Style {
        self.in_colour(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.in_colour(Color::Red).bold()
    }
}

const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, has_colour: bool) {
    let area = frame.area();
    let look = Look { has_colour };
    if area.width < WIDTH_LEAST || area.height < HEIGHT_LEAST {
        let text = format!("{WIDTH_LEAST}×{HEIGHT_LEAST} are needed");
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let head = head(top, look, area);
    let lines = top.lines();
    let (height, count) = (area.height, u16::try_from(lines.len()).unwrap_or(u16::MAX));
    let details = details(top, area.width, height / 6);
    let groups = groups(top, look, area);
    let table = match count {
        0 => 0,
        // Lines come before events, and as few events as three are worth a look.
        count => (count + 1).min((height / 2).max(2)),
    };
    let [at_head, at_table, at_details, at_groups, at_events, at_foot] = Layout::vertical([
        Constraint::Length(tall(&head)),
        Constraint::Length(table),
        Constraint::Length(tall(&details)),
        Constraint::Length(tall(&groups)),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Text::from(head), at_head);
    draw_lines(frame, top, look, at_table);
    frame.render_widget(Text::from(details), at_details);
    frame.render_widget(Text::from(groups), at_groups);
    frame.render_widget(Text::from(events(top, look, at_events)), at_events);
    frame.render_widget(foot(top, look, area.width), at_foot);
    if top.mode == Mode::Help {
        draw_help(frame);
    }
}

fn tall(lines: &[Line<'_>]) -> u16 {
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}

/// Whether there is internet, or a daemon.
fn head(top: &Top, look: Look, area: Rect) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut add = |style: Style, text: &str| {
        lines.extend(wrapped(text, area.width, 0).map(|l| Line::styled(l, style)));
    };
    match (&top.away, &top.status) {
        (Some((since, why)), known) => {
            let time = span(top.now.saturating_sub(*since).as_secs_f64());
            let below = match known {
                Some(_) => " What is below was so before.",
                None => "",
            };
            let text = format!("uplinkd does not answer, for {time} now: {why}.{below}");
            add(look.bad(), &text);
        }
        (None, None) => add(Style::new(), "Asking uplinkd …"),
        (None, Some(status)) => {
            let style = match status.state {
                State::Up => look.in_colour(Color::Green),
                State::Starting | State::Degraded => look.doubtful(),
                State::Down => look.bad(),
            };
            add(style.bold(), &status::sentence(status));
            for note in status::notes(status) {
                match note {
                    Note::Plain(text) => add(Style::new(), &text),
                    Note::Doubtful(text) => add(look.doubtful(), &text),
                }
            }
        }
    }
    lines.truncate(usize::from((area.height / 5).max(2)));
    lines
}

fn draw_lines(frame: &mut Frame<'_>, top: &Top, look: Look, area: Rect) {
    let lines = top.lines();
    let has_two = top.status.as_ref().is_some_and(status::has_two_families);
    let [at_title, at_rows] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let columns = Columns::fit(area.width, &lines, has_two);
    frame.render_widget(Line::styled(columns.title(), FAINT), at_title);
    let room = usize::from(at_rows.height);
    let chosen = top.chosen();
    // What is chosen is always to be seen.
    let first = (chosen + 1).saturating_sub(room);
    for (row, (index, line)) in at_rows.rows().zip(lines.iter().enumerate().skip(first)) {
        let is_first_of_interface = !lines[..index].iter().any(|l| l.interface == line.interface);
        columns.draw(
            frame,
            row,
            &columns::Row {
                line,
                trail: top.trails.get(&super::state::key(line)),
                is_chosen: index == chosen,
                has_traffic: is_first_of_interface,
                health: look.health(line.health),
            },
        );
    }
}

/// What there is to say of the line that is chosen.
fn details(top: &Top, width: u16, most: u16) -> Vec<Line<'static>> {
    let lines = top.lines();
    let (Some(line), Some(status)) = (lines.get(top.chosen()), &top.status) else {
        return Vec::new();
    };
    let mut text = status::details(line, status.time);
    for target in &line.targets {
        text.push_str("; ");
        text.push_str(&status::target(target));
    }
    let lines = wrapped(&text, width, 4).take(usize::from(most.max(1)));
    lines.map(Line::from).collect()
}

/// Who serves whom, where there is room.
fn groups(top: &Top, look: Look, area: Rect) -> Vec<Line<'static>> {
    let Some(status) = top
        .status
        .as_ref()
        .filter(|_| area.height >= HEIGHT_FOR_GROUPS)
    else {
        return Vec::new();
    };
    let shown = status
        .groups
        .iter()
        .filter(|g| !status::goes_without_saying(g));
    let has_two = status::has_two_families(status);
    let line = |group: &uplinkd_api::GroupStatus| {
        let family = match has_two {
            true => format!(" {}", group.family),
            false => String::new(),
        };
        let by = anstream::adapter::strip_str(&status::served_by(group)).to_string();
        let style = match group.serving.is_empty() {
            true => look.bad(),
            false => Style::new(),
        };
        Line::from(vec![
            Span::styled("group ", FAINT),
            Span::raw(format!("{}{family}: ", escape(&group.name))),
            Span::styled(by, style),
        ])
    };
    shown.map(line).take(usize::from(area.height / 6)).collect()
}

/// The newest events, the last at the bottom.
fn events(top: &Top, look: Look, area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.height).saturating_sub(1);
    let mut lines = Vec::new();
    for event in top.events.iter().rev() {
        let event = event_lines(event, look, area.width);
        if lines.len() + event.len() > room {
            break;
        }
        lines.splice(0..0, event);
    }
    let title = match (top.events.is_empty(), top.away.is_some()) {
        (true, true) => "EVENTS (UTC): none known",
        (true, false) => "EVENTS (UTC): none yet",
        (false, _) => "EVENTS (UTC)",
    };
    if area.height > 0 {
        lines.insert(0, Line::styled(title, FAINT));
    }
    lines
}

fn event_lines(event: &Event, look: Look, width: u16) -> Vec<Line<'static>> {
    let moment = moment(event.time);
    // The date is not news on a screen of minutes.
    let time = moment.get(11..19).unwrap_or("--:--:--");
    let (word, style) = match event.level {
        Level::Info => ("info", Style::new()),
        Level::Warn => ("warn", look.doubtful()),
    };
    let text = format!("{time} {word} {}", escape(&event.text));
    let lines = wrapped(&text, width, 0).enumerate();
    lines
        .map(|(n, text)| match n {
            0 => Line::styled(text, style),
            _ => Line::styled(format!("  {text}"), style),
        })
        .collect()
}

/// A question, an answer, or the keys.
fn foot(top: &Top, look: Look, width: u16) -> Line<'static> {
    let question = match &top.mode {
        Mode::Ask(Order::Drain(name)) => {
            let name = escape(name);
            Some(format!(
                "Drain {name}? New connections avoid it, its own stay.  y = yes, else no"
            ))
        }
        Mode::Ask(Order::Undrain(name)) => {
            Some(format!("Undrain {}?  y = yes, else no", escape(name)))
        }
        Mode::Ask(Order::Probe(_)) | Mode::Watch | Mode::Help => None,
    };
    if let Some(question) = question {
        return Line::styled(question, look.doubtful().add_modifier(Modifier::REVERSED));
    }
    match top.said() {
        Some(said) => Line::styled(said.to_owned(), Style::new().bold()),
        None if width < 62 => Line::styled(KEYS_SHORT, FAINT),
        None => Line::styled(KEYS, FAINT),
    }
}

fn draw_help(frame: &mut Frame<'_>) {
    let area = frame.area();
    let text = Text::from(HELP);
    let height = u16::try_from(text.height()).unwrap_or(u16::MAX) + 2;
    let box_area = area.centered(
        Constraint::Length((52).min(area.width)),
        Constraint::Length(height.min(area.height)),
    );
    frame.render_widget(Clear, box_area);
    let block = Block::bordered().title(" uplinkctl top: any key goes back ");
    frame.render_widget(Paragraph::new(text).block(block), box_area);
}

fn wrapped(text: &str, width: u16, indent: usize) -> impl Iterator<Item = String> + use<> {
    let mut out = String::new();
    paragraph_within(&mut out, usize::from(width), indent, text);
    let lines: Vec<_> = out.lines().map(str::to_owned).collect();
    lines.into_iter()
}

#[cfg(test)]
mod tests;
