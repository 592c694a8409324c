//! What the demonstration prints: plain lines of at most 80 columns, readable without colour.

use std::io::{self, Write};

use anyhow::Result;

/// How wide a bar of 100 % is.
const BAR: f64 = 36.0;
/// Control characters of quoted text are shown, not obeyed.
const ESCAPED: char = '\u{fffd}';

/// Standard output, and the expectations that were not met.
#[derive(Debug, Default)]
pub(super) struct Screen {
    checked: usize,
    failed: Vec<String>,
}

impl Screen {
    pub(super) fn line(&mut self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(())
    }

    pub(super) fn title(&mut self, text: &str) -> Result<()> {
        let rest = 76_usize.saturating_sub(text.chars().count());
        self.line(&format!("\n-- {text} {}", "-".repeat(rest)))
    }

    /// Text that is not ours.
    pub(super) fn quote(&mut self, text: &str) -> Result<()> {
        let safe: String = text
            .replace('\t', " ")
            .chars()
            .map(|c| if c.is_control() { ESCAPED } else { c })
            .collect();
        self.line(&format!("  {safe}"))
    }

    pub(super) fn quote_all(&mut self, text: &str) -> Result<()> {
        text.lines().try_for_each(|line| self.quote(line))
    }

    pub(super) fn bar(&mut self, label: &str, percent: f64, count: usize) -> Result<()> {
        let filled = "#".repeat(hashes(percent));
        self.line(&format!(
            "  {label:22} {filled:36} {count:5}  {percent:4.1} %"
        ))
    }

    /// Says whether an expectation was met, and remembers it when not.
    pub(super) fn check(&mut self, is_met: bool, what: &str) -> Result<()> {
        self.checked += 1;
        if is_met {
            return self.line(&format!("  ok    {what}"));
        }
        self.failed.push(what.to_owned());
        self.line(&format!("  FAIL  {what}"))
    }

    /// The end: whether all expectations were met.
    pub(super) fn verdict(&mut self) -> Result<bool> {
        let failed = std::mem::take(&mut self.failed);
        if failed.is_empty() {
            self.line(&format!("\nAll {} checks passed.", self.checked))?;
            return Ok(true);
        }
        self.line(&format!(
            "\n{} of {} checks failed:",
            failed.len(),
            self.checked
        ))?;
        for what in &failed {
            self.line(&format!("  - {what}"))?;
        }
        Ok(false)
    }
}

fn hashes(percent: f64) -> usize {
    let wanted = (percent.clamp(0.0, 100.0) / 100.0 * BAR).round();
    (0..36_u8).filter(|n| f64::from(*n) < wanted).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!([0.0, 50.0, 100.0, 250.0].map(hashes), [0, 18, 36, 36]);
    }

    #[test]
    fn one_unmet_expectation_is_remembered() {
        let mut screen = Screen::default();
        screen.check(true, "a").unwrap();
        screen.check(false, "b").unwrap();
        assert!(!screen.verdict().unwrap());
    }
}
