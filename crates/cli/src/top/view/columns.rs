//! The table of lines: which columns fit, and one row of it.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    widgets::{RenderDirection, Sparkline, SparklineBar},
};
use uplinkd_api::UplinkStatus;
use uplinkd_model::Health;

use super::super::trail::{Point, Trail};
use crate::render::{
    status,
    words::{milliseconds, percent},
};

/// The longest name, with its family.
const NAME_MAX: u16 = 24;
const NAME_LEAST: u16 = 6;
/// A picture of fewer points says nothing.
const PICTURE_LEAST: u16 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Health,
    Rtt,
    RttPicture,
    Loss,
    LossPicture,
    Received,
    Sent,
    Flows,
}

/// All, in order.
const ALL: [Column; 9] = [
    Column::Name,
    Column::Health,
    Column::Rtt,
    Column::RttPicture,
    Column::Loss,
    Column::LossPicture,
    Column::Received,
    Column::Sent,
    Column::Flows,
];

/// What goes first where there is no room.
const LEAST_FIRST: [Column; 7] = [
    Column::LossPicture,
    Column::RttPicture,
    Column::Flows,
    Column::Sent,
    Column::Received,
    Column::Loss,
    Column::Rtt,
];

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Name => "UPLINK",
            Self::Health => "HEALTH",
            Self::Rtt => "RTT",
            Self::Loss => "LOSS",
            Self::RttPicture | Self::LossPicture => "",
            Self::Received => "IN b/s",
            Self::Sent => "OUT b/s",
            Self::Flows => "FLOWS",
        }
    }

    /// How wide at least.
    fn width(self) -> u16 {
        match self {
            Self::Name => NAME_LEAST,
            Self::Health | Self::Rtt => 8,
            Self::Loss => 4,
            Self::RttPicture | Self::LossPicture => PICTURE_LEAST,
            Self::Received | Self::Sent => 7,
            Self::Flows => 6,
        }
    }

    fn is_number(self) -> bool {
        match self {
            Self::Rtt | Self::Loss | Self::Received | Self::Sent | Self::Flows => true,
            Self::Name | Self::Health | Self::RttPicture | Self::LossPicture => false,
        }
    }
}

/// A row's content.
pub(super) struct Row<'a> {
    pub(super) line: &'a UplinkStatus,
    pub(super) trail: Option<&'a Trail>,
    pub(super) is_chosen: bool,
    /// It is the first line of its interface, which alone shows what that carries.
    pub(super) has_traffic: bool,
    pub(super) health: Style,
}

/// Columns with their widths. Between two is a space, and before the first the mark of the choice.
pub(super) struct Columns {
    all: Vec<(Column, u16)>,
    has_two_families: bool,
}

/// The mark of the choice.
const MARK: u16 = 2;

impl Columns {
    pub(super) fn fit(width: u16, lines: &[&UplinkStatus], has_two_families: bool) -> Self {
        let name = lines.iter().map(|l| label(l, has_two_families));
        let name = name.map(|n| n.chars().count()).max().unwrap_or_default();
        let name = u16::try_from(name).unwrap_or(NAME_MAX);
        let name = name.clamp(NAME_LEAST, NAME_MAX);
        let mut kept = ALL.to_vec();
        let taken = |kept: &[Column], name: u16| {
            let widths = kept
                .iter()
                .map(|c| if *c == Column::Name { name } else { c.width() } + 1);
            MARK + widths.sum::<u16>() - 1
        };
        for column in LEAST_FIRST {
            if taken(&kept, name) <= width {
                break;
            }
            kept.retain(|c| *c != column);
        }
        let over = taken(&kept, name).saturating_sub(width);
        let name = name.saturating_sub(over).max(1);
        let mut left = width.saturating_sub(taken(&kept, name));
        let mut all = Vec::new();
        for column in kept {
            let mut more = 0;
            if column == Column::RttPicture {
                more = left * 3 / 5;
            } else if column == Column::LossPicture {
                more = left;
            }
            left -= more;
            let least = if column == Column::Name {
                name
            } else {
                column.width()
            };
            all.push((column, least + more));
        }
        Self {
            all,
            has_two_families,
        }
    }

    pub(super) fn title(&self) -> String {
        let mut title = " ".repeat(usize::from(MARK));
        for (column, width) in &self.all {
            title += &cell(column.title(), *width, column.is_number());
            title.push(' ');
        }
        title.trim_end().to_owned()
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>, area: Rect, row: &Row<'_>) {
        let style = match row.is_chosen {
            true => Style::new().bold(),
            false => Style::new(),
        };
        let mut put = |x: u16, width: u16, text: &str, style: Style| {
            let buffer = frame.buffer_mut();
            buffer.set_stringn(x, area.y, text, usize::from(width), style);
        };
        put(area.x, MARK, if row.is_chosen { "> " } else { "  " }, style);
        let mut x = area.x + MARK;
        let mut pictures = Vec::new();
        for (column, width) in &self.all {
            let text = self.text(*column, row);
            if matches!(column, Column::RttPicture | Column::LossPicture) {
                pictures.push((*column, Rect::new(x, area.y, *width, 1)));
            }
            let style = match *column == Column::Health {
                true => row.health,
                false => style,
            };
            put(x, *width, &cell(&text, *width, column.is_number()), style);
            x += width + 1;
        }
        for (column, at) in pictures {
            if let Some(trail) = row.trail {
                picture(frame, at.intersection(area), trail, column);
            }
        }
    }

    fn text(&self, column: Column, row: &Row<'_>) -> String {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let rates = row.trail.and_then(Trail::rates);
        match column {
            Column::Name => label(row.line, self.has_two_families),
            Column::Health if row.line.idle && row.line.health == Health::Up => {
                "drained".to_owned()
            }
            Column::Health => row.line.health.to_string(),
            Column::Rtt => {
                let newest = row.trail.and_then(Trail::newest);
                or_dash(newest.and_then(|p| p.rtt).map(milliseconds))
            }
            Column::Loss => or_dash(status::loss(row.line).map(percent)),
            Column::Received | Column::Sent if !row.has_traffic => String::new(),
            Column::Received => or_dash(rates.map(|r| short(r.received))),
            Column::Sent => or_dash(rates.map(|r| short(r.sent))),
            Column::Flows => or_dash(row.line.connections.map(|n| short(n as f64))),
            Column::RttPicture | Column::LossPicture => String::new(),
        }
    }
}

fn label(line: &UplinkStatus, has_two: bool) -> String {
    status::label(&line.name, line.family, has_two)
        .trim_end()
        .to_owned()
}

/// A text of this width, cut where it is longer.
fn cell(text: &str, width: u16, is_number: bool) -> String {
    let width = usize::from(width);
    let text: String = text.chars().take(width).collect();
    match is_number {
        true => format!("{text:>width$}"),
        false => format!("{text:width$}"),
    }
}

/// The newest at the right. Round-trip times are shown between nothing and the longest to be seen.
fn picture(frame: &mut Frame<'_>, area: Rect, trail: &Trail, column: Column) {
    let is_loss = column == Column::LossPicture;
    let value = |point: &Point| match is_loss {
        true => point.loss.map(|loss| loss * 1000.0),
        false => point.rtt.map(|ms| ms * 1000.0),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and makes nothing of what is no number"
    )]
    let bar = |point: &Point| SparklineBar::from(value(point).map(|v| v as u64));
    let bars = trail.newest_first().take(usize::from(area.width)).map(bar);
    let mut sparkline = Sparkline::default()
        .data(bars.collect::<Vec<_>>())
        .direction(RenderDirection::RightToLeft)
        .absent_value_symbol("×");
    if is_loss {
        sparkline = sparkline.max(1000);
    }
    frame.render_widget(sparkline, area);
}

/// A number in five signs at most: 999, 1.2k, 123k, 1.2M.
fn short(number: f64) -> String {
    let mut number = number.max(0.0);
    for unit in ["", "k", "M", "G", "T"] {
        if number < 999.5 {
            let has_part = number < 9.95 && !unit.is_empty();
            return match has_part {
                true => format!("{number:.1}{unit}"),
                false => format!("{number:.0}{unit}"),
            };
        }
        number /= 1000.0;
    }
    "much".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (-1.0, "0"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (9_949.0, "9.9k"),
            (9_960.0, "10k"),
            (123_456.0, "123k"),
            (2.5e9, "2.5G"),
            (1e20, "much"),
        ] {
            assert_eq!(short(number), text, "{number}");
        }
    }
}
