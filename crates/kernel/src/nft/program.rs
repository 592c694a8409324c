//! Running the program `nft`.

use std::{
    env,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use super::NftError;

/// Where systems keep `nft`. Not `$PATH`, which whoever starts us could point elsewhere.
const PLACES: [&str; 5] = [
    "/usr/sbin/nft",
    "/sbin/nft",
    "/usr/bin/nft",
    "/usr/local/sbin/nft",
    "/run/current-system/sw/bin/nft",
];

/// How many seconds `nft` may take, for a machine on which even starting a program takes that long.
pub const PATIENCE: &str = "UPLINKD_NFT_SECONDS";
/// The most that it may be given: all that time the daemon stands still.
const PATIENCE_MAX: u64 = 600;

/// How long `nft` may take, unless [`PATIENCE`] says otherwise: our table takes milliseconds, and a router must not stand still because
/// of it. When the time is over it is killed, and what it did is seen by the next look.
const WAIT: Duration = Duration::from_secs(3);
/// How much longer for each megabyte that it reads: it takes a second for 100,000 prefixes, three
/// megabytes, on a fast machine, and there are slow ones.
const WAIT_PER_MEGABYTE: Duration = Duration::from_secs(3);

/// How often the end of a process is looked for that has closed its output but has not ended.
const END_POLL: Duration = Duration::from_millis(1);

/// What `nft` calls its version, such as `1.0.6`.
///
/// # Errors
/// When it is not installed or cannot be run.
pub fn version() -> Result<String, NftError> {
    let text = run(&["--version"], String::new(), |_| {})?;
    let word = text.split_whitespace().find_map(|w| w.strip_prefix('v'));
    Ok(word.unwrap_or(text.trim()).to_owned())
}

/// A table as `nft` lists it, without the elements of its sets.
///
/// # Errors
/// When there is none of that name, or `nft` cannot be run.
pub fn listing(table: &str) -> Result<String, NftError> {
    let arguments = ["--terse", "list", "table", "inet", table];
    run(&arguments, String::new(), |_| {})
}

/// Runs `nft` and returns what it printed. `started` is told its number.
pub(super) fn run(
    arguments: &[&str],
    input: String,
    started: impl FnOnce(u32),
) -> Result<String, NftError> {
    let program = PLACES
        .iter()
        .find(|p| Path::new(p).is_file())
        .ok_or(NftError::Missing)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NftError::Run)?;
    started(child.id());
    let megabytes = u32::try_from(input.len() >> 20).unwrap_or(u32::MAX);
    let wait =
        patience(env::var(PATIENCE).ok().as_deref()) + WAIT_PER_MEGABYTE.saturating_mul(megabytes);
    let deadline = Instant::now() + wait;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read must not block us. When it ends early, writing fails, and
        // its own words say why.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    }
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let result = (|| {
        let left = || deadline.saturating_duration_since(Instant::now());
        let printed = stdout.recv_timeout(left()).ok()?;
        let complaint = stderr.recv_timeout(left()).ok()?;
        Some((printed, complaint, end(&mut child, deadline)?))
    })();
    let Some((printed, complaint, status)) = result else {
        // Both fail only when the process is gone already.
        let _ = child.kill();
        let _ = child.wait();
        return Err(NftError::TimedOut {
            seconds: wait.as_secs(),
        });
    };
    if status.success() {
        Ok(printed)
    } else {
        Err(NftError::Refused {
            text: summary(&complaint),
        })
    }
}

fn patience(said: Option<&str>) -> Duration {
    let seconds = said.and_then(|s| s.parse().ok());
    let seconds = seconds.filter(|s| (1..=PATIENCE_MAX).contains(s));
    seconds.map_or(WAIT, Duration::from_secs)
}

/// Reads a stream to its end on a thread of its own.
fn read_all(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is all there is.
            let _ = stream.read_to_end(&mut bytes);
        }
        // Nobody waits any longer when the time was over.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}

fn end(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(END_POLL),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// The first complaint, on one line: `nft` draws arrows below the text that it quotes.
fn summary(complaint: &str) -> String {
    let line = complaint.lines().find(|l| l.contains("Error:"));
    let line = line
        .or_else(|| complaint.lines().next())
        .unwrap_or_default();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nft_is_given_the_time_that_was_asked_for_within_bounds() {
        assert_eq!(patience(Some("40")), Duration::from_secs(40));
        for not_one in [None, Some(""), Some("0"), Some("601"), Some("2s")] {
            assert_eq!(patience(not_one), WAIT, "{not_one:?}");
        }
    }

    #[test]
    fn a_complaint_is_one_line() {
        let words = "/dev/stdin:1:1-3: Error: syntax error, unexpected string\nfoo\n^^^\n";
        assert_eq!(
            summary(words),
            "/dev/stdin:1:1-3: Error: syntax error, unexpected string"
        );
        assert_eq!(summary(""), "");
    }
}
