//! What the figures were measured on.

use std::{fs, process::Command, thread};

use serde::Serialize;

/// A machine, as far as it matters for the figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// The kernel's release.
    pub(super) kernel: String,
    /// Processors that we may use.
    pub(super) cores: usize,
    /// The model of the first.
    pub(super) processor: String,
    /// Processes that ran or wanted to, on average over the minute before: with others at work the
    /// longest times say more about them than about us.
    pub(super) load: f64,
    /// Programs that took part, by what they say of their version.
    pub(super) programs: Vec<String>,
}

impl Machine {
    /// This one.
    pub(super) fn look() -> Self {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let processor = cpuinfo
            .lines()
            .find_map(|l| l.strip_prefix("model name")?.split_once(':'))
            .map_or_else(String::new, |(_, name)| name.trim().to_owned());
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cores: thread::available_parallelism().map_or(1, usize::from),
            processor,
            load: read("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0.0),
            programs: Vec::new(),
        }
    }

    /// One line for the head of a table.
    pub(super) fn line(&self) -> String {
        format!(
            "kernel {}, {} cores, {}, load {:.1} at the start",
            self.kernel, self.cores, self.processor, self.load
        )
    }

    /// Adds a program by the first line that it says when asked for its version.
    pub(super) fn add_program(&mut self, command: &mut Command) {
        let said = command.output().ok();
        let text = said.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
        if let Some(line) = text.as_deref().and_then(|t| t.lines().next()) {
            self.programs.push(line.trim().to_owned());
        }
    }
}
