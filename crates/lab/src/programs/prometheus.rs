//! Prometheus, and `promtool`, which knows its formats better than anybody.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{Guest, find, find_unpacked};
use crate::{netns::Netns, process::Output, topology::Lab};

/// Where it listens, in the namespace that it runs in.
pub const PROMETHEUS: &str = "127.0.0.1:9090";
/// Where it finds what it scrapes.
const SCRAPED: &str = "127.0.0.1:9177";

/// A Prometheus that scrapes a Unix socket of the router. It ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    guest: Guest,
    _bridge: Guest,
}

impl Prometheus {
    /// Starts it with a file of rules, and waits until it is ready. It speaks TCP alone, so that a `socat`
    /// stands before the socket.
    ///
    /// # Errors
    /// [`super::Missing`], or why it does not start.
    pub fn start(lab: &Lab, socket: &Path, rules: &Path) -> Result<Self> {
        let (program, socat) = (find_unpacked("prometheus", "prometheus")?, find("socat")?);
        let folder = lab.folder();
        let file = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: uplinkd\n    static_configs: [{{targets: [\"{SCRAPED}\"]}}]\n",
            rules.display()
        );
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        let port = SCRAPED.rsplit(':').next().unwrap_or_default();
        let line = format!(
            "{} TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:{}",
            socat.display(),
            socket.display()
        );
        let bridge = Guest::start(lab.router(), folder, "socat", &line)?;
        let line = format!(
            "{} --config.file={} --storage.tsdb.path={} --web.listen-address={PROMETHEUS}",
            program.display(),
            file.display(),
            folder.join("prometheus").display()
        );
        let guest = Guest::start(lab.router(), folder, "prometheus", &line)?;
        guest.wait_ready("prometheus", |log| {
            log.contains("Server is ready to receive web requests")
        })?;
        Ok(Self {
            guest,
            _bridge: bridge,
        })
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.guest.log()
    }
}

/// Runs `promtool` with arguments and something to read, in a folder.
///
/// # Errors
/// [`super::Missing`]; that it finds fault is told by its exit code.
pub fn promtool(netns: &Netns, folder: &Path, arguments: &[&str], input: &str) -> Result<Output> {
    let mut command = Command::new(find_unpacked("prometheus", "promtool")?);
    command.args(arguments).current_dir(folder);
    netns.output(command, input, Duration::from_secs(30))
}
