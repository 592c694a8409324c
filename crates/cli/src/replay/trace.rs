//! The trace: CSV, line by line, from one file or several that follow each other in time.
//!
//! Whatever a line holds, it costs no more memory than itself, and what is wrong is told with the line.

use std::{
    fmt,
    fs::{self, File},
    io::{self, BufRead, BufReader, IsTerminal as _, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use uplinkd_model::{
    Counters, Family,
    record::{COLUMNS, LOST},
};

/// The longest line, in bytes; longer ones are no trace.
const LINE_MAX: usize = 4096;
/// How far a line may lie before an earlier one: results are known in another order than asked.
pub(super) const BACK_MAX: Duration = Duration::from_secs(10);
/// Times are between 1970 and the year 5138.
const TIME_MAX: f64 = 1e11;
/// Round-trip times are at most a day, in milliseconds.
const RTT_MAX: f64 = 86_400_000.0;

/// Files in the order of time.
#[derive(Debug)]
pub(crate) struct Trace {
    files: Vec<PathBuf>,
    bytes: u64,
}

/// What is wrong with a trace.
#[derive(Debug)]
pub(crate) struct TraceError {
    path: PathBuf,
    /// From 1; none where it is not about a line.
    line: Option<u64>,
    text: String,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path.display(), self.text),
            None => write!(f, "cannot read {}: {}", self.path.display(), self.text),
        }
    }
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line<'a> {
    /// Since the epoch.
    pub(crate) time: Duration,
    /// Empty: of the daemon.
    pub(crate) uplink: &'a str,
    pub(crate) family: Family,
    pub(crate) seen: Seen<'a>,
}

/// What it tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Seen<'a> {
    Sample {
        target: &'a str,
        rtt: Option<Duration>,
    },
    Counted(Counters),
    /// Quotes inside are still doubled.
    Event(&'a str),
}

impl Trace {
    /// The files of these paths; of a folder, all recordings in it.
    pub(crate) fn find(paths: &[PathBuf]) -> Result<Self, TraceError> {
        let mut files = Vec::new();
        for path in paths {
            let about = |error: &io::Error| TraceError::of_file(path, error.to_string());
            if path.is_dir() {
                let mut found = Vec::new();
                for entry in fs::read_dir(path).map_err(|e| about(&e))? {
                    let entry = entry.map_err(|e| about(&e))?.path();
                    if entry.extension().is_some_and(|e| e == "csv") {
                        found.push(entry);
                    }
                }
                if found.is_empty() {
                    let text = "no recording (*.csv) is in this folder";
                    return Err(TraceError::of_file(path, text.to_owned()));
                }
                found.sort();
                files.extend(found);
            } else {
                files.push(path.clone());
            }
        }
        let mut bytes = 0;
        for path in &files {
            let about = |error: io::Error| TraceError::of_file(path, error.to_string());
            let metadata = fs::metadata(path).map_err(about)?;
            if !metadata.is_file() {
                let text = "it is not a regular file, and has to be read more than once";
                return Err(TraceError::of_file(path, text.to_owned()));
            }
            bytes += metadata.len();
        }
        Ok(Self { files, bytes })
    }

    /// Reads it from the beginning.
    pub(crate) fn read(&self, what: &'static str) -> Reader<'_> {
        Reader {
            left: self.files.iter(),
            open: None,
            line: Vec::new(),
            latest: Duration::ZERO,
            progress: Progress::new(what, self.bytes),
        }
    }
}

impl TraceError {
    fn of_file(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            line: None,
            text,
        }
    }
}

/// A pass over a trace.
pub(crate) struct Reader<'t> {
    left: std::slice::Iter<'t, PathBuf>,
    open: Option<Open<'t>>,
    line: Vec<u8>,
    latest: Duration,
    progress: Progress,
}

struct Open<'t> {
    path: &'t Path,
    file: BufReader<File>,
    number: u64,
    /// Where each column of ours stands; unknown until the first line.
    columns: Option<[Option<usize>; COLUMNS.len()]>,
}

impl Reader<'_> {
    /// The next line, if there is one more.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, TraceError> {
        loop {
            if self.open.is_none() {
                let Some(path) = self.left.next() else {
                    return Ok(None);
                };
                let file =
                    File::open(path).map_err(|e| TraceError::of_file(path, e.to_string()))?;
                self.open = Some(Open {
                    path,
                    file: BufReader::with_capacity(1 << 16, file),
                    number: 0,
                    columns: None,
                });
            }
            let Some(open) = &mut self.open else { continue };
            let is_whole = open.read(&mut self.line)?;
            self.progress.advance(self.line.len());
            if self.line.is_empty() && !is_whole {
                self.open = None;
                continue;
            }
            if is_skipped(&self.line) || open.is_header(&self.line)? {
                continue;
            }
            // The last line of a recording whose writer was killed may be half a line.
            if !is_whole && open.parse(&self.line).is_err() {
                continue;
            }
            break;
        }
        let Some(open) = &self.open else {
            return Ok(None);
        };
        let line = open.parse(&self.line).map_err(|text| open.error(text))?;
        if line.time + BACK_MAX < self.latest {
            let back = self.latest.saturating_sub(line.time);
            return Err(open.error(format!(
                "time goes back by {:.0} s; sort the lines by time, such as with `sort -t, -k1,1`",
                back.as_secs_f64()
            )));
        }
        self.latest = self.latest.max(line.time);
        Ok(Some(line))
    }
}

impl Open<'_> {
    fn error(&self, text: String) -> TraceError {
        TraceError {
            path: self.path.to_owned(),
            line: Some(self.number),
            text,
        }
    }

    /// Reads a line without its end. False at the end of the file, where the line has none.
    fn read(&mut self, line: &mut Vec<u8>) -> Result<bool, TraceError> {
        line.clear();
        self.number += 1;
        let mut bounded = io::Read::take(&mut self.file, LINE_MAX as u64 + 1);
        let read = bounded.read_until(b'\n', line);
        read.map_err(|e| TraceError::of_file(self.path, e.to_string()))?;
        if line.len() > LINE_MAX {
            return Err(self.error(format!("the line is longer than {LINE_MAX} bytes")));
        }
        let is_whole = line.last() == Some(&b'\n');
        while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            line.pop();
        }
        Ok(is_whole)
    }

    /// Learns the columns of the first line. Says whether that names them rather than being one itself.
    fn is_header(&mut self, line: &[u8]) -> Result<bool, TraceError> {
        if self.columns.is_some() {
            return Ok(false);
        }
        let first = str::from_utf8(line).unwrap_or_default();
        let names: Vec<_> = fields(first).map(str::to_ascii_lowercase).collect();
        let is_header = names
            .iter()
            .any(|n| n == "time" || n == "uplink" || n == "rtt_ms");
        if !is_header {
            self.columns = Some(std::array::from_fn(Some));
            return Ok(false);
        }
        let columns = COLUMNS.map(|column| names.iter().position(|n| n == column));
        let missing = (0..4).filter(|n| columns[*n].is_none()).map(|n| COLUMNS[n]);
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            return Err(self.error(format!(
                "the header lacks {}; a trace needs time,uplink,target,rtt_ms",
                missing.join(", ")
            )));
        }
        self.columns = Some(columns);
        Ok(true)
    }

    fn parse<'l>(&self, line: &'l [u8]) -> Result<Line<'l>, String> {
        let line = str::from_utf8(line).map_err(|_| "the line is not text (UTF-8)".to_owned())?;
        let mut all = [""; 32];
        let mut count = 0;
        for (place, field) in all.iter_mut().zip(fields(line)) {
            *place = field;
            count += 1;
        }
        let columns = self.columns.unwrap_or(std::array::from_fn(Some));
        let field = |column: usize| columns[column].map_or("", |n| all[n.min(31)]);
        if count < 3 {
            return Err(format!(
                "{count} column{} where time,uplink,target,rtt_ms are needed",
                if count == 1 { "" } else { "s" }
            ));
        }
        let (uplink, target, event) = (field(1), field(2), field(9));
        let family = match field(4) {
            "4" => Family::V4,
            "6" => Family::V6,
            "" => family_of(target),
            other => return Err(format!("the family is 4 or 6, not `{}`", short(other))),
        };
        let seen = if !event.is_empty() {
            Seen::Event(event)
        } else if !target.is_empty() {
            let rtt = round_trip(field(3))?;
            Seen::Sample { target, rtt }
        } else if !field(5).is_empty() {
            let number = |n: usize| {
                let text = field(n);
                text.parse()
                    .map_err(|_| format!("{} is no number: `{}`", COLUMNS[n], short(text)))
            };
            Seen::Counted(Counters {
                rx_packets: number(5)?,
                tx_packets: number(6)?,
                rx_bytes: number(7)?,
                tx_bytes: number(8)?,
            })
        } else {
            return Err("the target is missing".to_owned());
        };
        if uplink.is_empty() && !matches!(seen, Seen::Event(_)) {
            return Err("the uplink is missing".to_owned());
        }
        Ok(Line {
            time: moment(field(0))?,
            uplink,
            family,
            seen,
        })
    }
}

fn is_skipped(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.starts_with(b"#")
}

/// The fields of a line, without quotes around them.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(line);
    std::iter::from_fn(move || {
        let rest = left?;
        let is_quoted = rest.starts_with('"');
        let end = match is_quoted {
            false => rest.find(','),
            // Behind the quote that is not doubled.
            true => {
                let mut inside = true;
                rest.char_indices().skip(1).find_map(|(at, c)| {
                    inside ^= c == '"';
                    (c == ',' && !inside).then_some(at)
                })
            }
        };
        left = end.map(|end| &rest[end + 1..]);
        let field = end.map_or(rest, |end| &rest[..end]).trim();
        let bare = field.strip_prefix('"').and_then(|f| f.strip_suffix('"'));
        Some(bare.filter(|_| is_quoted).unwrap_or(field))
    })
}

fn moment(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return match (0.0..TIME_MAX).contains(&seconds) {
            true => Ok(Duration::from_secs_f64(seconds)),
            false => Err(format!("`{}` is no time since the epoch", short(text))),
        };
    }
    let stamp = text.parse::<jiff::Timestamp>();
    let since = stamp.ok().and_then(|t| t.as_duration().try_into().ok());
    since.ok_or_else(|| {
        format!(
            "`{}` is no time: seconds since the epoch or RFC 3339 is needed",
            short(text)
        )
    })
}

fn round_trip(text: &str) -> Result<Option<Duration>, String> {
    let is_lost = |word: &str| text.eq_ignore_ascii_case(word);
    if text.is_empty() || is_lost(LOST) || is_lost("timeout") || is_lost("u") {
        return Ok(None);
    }
    let ms = text
        .parse::<f64>()
        .ok()
        .filter(|ms| (0.0..=RTT_MAX).contains(ms));
    let ms = ms.ok_or_else(|| {
        format!(
            "`{}` is no round-trip time: milliseconds, or empty, `-`, `timeout` or `U` where it was lost",
            short(text)
        )
    })?;
    Ok(Some(Duration::from_secs_f64(ms / 1000.0)))
}

fn family_of(target: &str) -> Family {
    let address = target.strip_prefix("icmp:").unwrap_or(target);
    address.parse::<IpAddr>().map_or(Family::V4, Family::of)
}

/// What a message quotes of garbage.
fn short(text: &str) -> String {
    let cut: String = text.chars().take(40).collect();
    cut.escape_debug().to_string()
}

/// Shows on a terminal that it works.
struct Progress {
    what: &'static str,
    all: u64,
    done: u64,
    next: Instant,
    is_shown: bool,
}

impl Progress {
    const EVERY: Duration = Duration::from_secs(1);

    fn new(what: &'static str, all: u64) -> Self {
        Self {
            what,
            all,
            done: 0,
            next: Instant::now() + Self::EVERY,
            is_shown: false,
        }
    }

    fn advance(&mut self, bytes: usize) {
        let before = self.done >> 16;
        self.done += bytes as u64 + 1;
        if before == self.done >> 16 || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + Self::EVERY;
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let percent = (self.done * 100 / self.all.max(1)).min(100);
            let _ = write!(stderr, "\r{}: {percent}% ", self.what);
            self.is_shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r{:40}\r", "");
        }
    }
}

#[cfg(test)]
mod tests;
