//! A small test harness for test binaries that need private namespaces, also as an ordinary user.
//!
//! libtest starts threads before any of our code runs, and the kernel gives no user namespace to a
//! process with threads. So such a test is declared with `harness = false` and its `main` calls
//! [`run`]. Tests run one after the other, since they share the machine's clock and cores. `cargo
//! test NAME`, `--list`, `--exact` and nextest work as usual.

use std::{
    env,
    fs::OpenOptions,
    io::{Write, stdout},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use anyhow::Result;

use crate::{netns::enter_private, programs::Missing};

/// What a test returns that cannot run here. Where `CI` is set that is a failure all the same: there
/// everything must be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Skipped(pub String);

/// A test and its name.
pub type Test = (&'static str, fn() -> Result<()>);

/// Set this variable to make a machine without namespaces a skip and not a failure, and to allow
/// skipped tests in CI.
const MAY_SKIP: &str = "UPLINK_LAB_MAY_SKIP";

/// Set this variable to a file that shall have a line for each test that failed. Such a test is run a
/// second time, on a machine that may have been too busy the first time; it passes if that does, and the
/// line says so: nobody shall take it for one that always holds.
pub const REPORT: &str = "UPLINK_LAB_REPORT";

/// Runs the tests that the command line asks for, in private namespaces, one after the other.
///
/// Call it first thing in `main`. A test fails when it returns an error or panics.
pub fn run(tests: &[Test]) -> ExitCode {
    run_together(tests, 1)
}

/// As [`run`], with up to so many tests at a time: for tests that mostly wait for other programs and
/// measure nothing.
pub fn run_together(tests: &[Test], at_a_time: usize) -> ExitCode {
    let wish = Wish::read(env::args().skip(1));
    let wanted: Vec<_> = tests.iter().filter(|(name, _)| wish.wants(name)).collect();
    if wish.is_list {
        for (name, _) in wanted {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if wanted.is_empty() {
        return ExitCode::SUCCESS;
    }
    if let Err(e) = enter_private() {
        let may_skip = is_set(MAY_SKIP);
        say(&format!(
            "{}: {e:#}",
            if may_skip { "skipped" } else { "cannot run" }
        ));
        return if may_skip {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
    let report = env::var_os(REPORT).filter(|file| !file.is_empty());
    let counts = Counts {
        report: report.map(PathBuf::from),
        ..Counts::default()
    };
    run_all(&wanted, at_a_time, counts).finish(wanted.len())
}

fn run_all(wanted: &[&Test], at_a_time: usize, counts: Counts) -> Counts {
    if at_a_time <= 1 {
        wanted.iter().for_each(|test| counts.run(test));
        return counts;
    }
    thread::scope(|scope| {
        for _ in 0..at_a_time.min(wanted.len()) {
            scope.spawn(|| {
                while let Some(test) = wanted.get(counts.next()) {
                    counts.run(test);
                }
            });
        }
    });
    counts
}

/// How far we are.
#[derive(Debug, Default)]
struct Counts {
    /// Where failed tests are told of, which then have a second try.
    report: Option<PathBuf>,
    taken: AtomicUsize,
    failed: AtomicUsize,
    skipped: AtomicUsize,
}

impl Counts {
    fn next(&self) -> usize {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    fn run(&self, (name, test): &Test) {
        let mut verdict = attempt(name, *test);
        if let (Verdict::Failed(first), Some(file)) = (&verdict, &self.report) {
            let again = attempt(name, *test);
            let line = match &again {
                Verdict::Failed(_) => format!("{name} failed twice: {first}"),
                Verdict::Held | Verdict::Skipped => {
                    format!("{name} held only the second time; the first time: {first}")
                }
            };
            let file = OpenOptions::new().create(true).append(true).open(file);
            if file.and_then(|mut f| writeln!(f, "{line}")).is_err() {
                say("the report of failed tests could not be written");
            }
            verdict = again;
        }
        match verdict {
            Verdict::Held => {}
            Verdict::Skipped => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Failed(_) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn finish(self, all: usize) -> ExitCode {
        let (failed, skipped) = (self.failed.into_inner(), self.skipped.into_inner());
        say(&format!(
            "{} passed, {failed} failed{}",
            all - failed - skipped,
            if skipped > 0 {
                format!(", {skipped} skipped")
            } else {
                String::new()
            }
        ));
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// What came of a test.
enum Verdict {
    Held,
    Skipped,
    Failed(String),
}

/// Runs a test once, and says what came of it.
fn attempt(name: &str, test: fn() -> Result<()>) -> Verdict {
    let start = Instant::now();
    let verdict = match catch_unwind(AssertUnwindSafe(test)) {
        Ok(Ok(())) => Verdict::Held,
        Ok(Err(e)) if is_skip(&e) && may_skip() => {
            say(&format!("test {name} ... skipped: {e:#}"));
            return Verdict::Skipped;
        }
        Ok(Err(e)) => Verdict::Failed(format!("{e:#}")),
        Err(_) => Verdict::Failed("panicked, see above".to_owned()),
    };
    let word = match &verdict {
        Verdict::Failed(why) => format!("FAILED\n  {why}"),
        Verdict::Held | Verdict::Skipped => "ok".to_owned(),
    };
    say(&format!(
        "test {name} ({} ms) ... {word}",
        start.elapsed().as_millis()
    ));
    verdict
}

fn is_skip(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|c| c.is::<Skipped>() || c.is::<Missing>())
}

fn may_skip() -> bool {
    is_set(MAY_SKIP) || !is_set("CI")
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|v| !v.is_empty())
}

/// A test's output that nobody reads is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    is_list: bool,
    is_exact: bool,
    /// None of our tests is an ignored one; who asks for those gets none.
    is_ignored_only: bool,
    filters: Vec<String>,
    skips: Vec<String>,
}

impl Wish {
    fn read(mut words: impl Iterator<Item = String>) -> Self {
        let mut wish = Self::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--list" => wish.is_list = true,
                "--exact" => wish.is_exact = true,
                "--ignored" => wish.is_ignored_only = true,
                "--skip" => wish.skips.extend(words.next()),
                // Options of libtest with a value that mean nothing here.
                "--format" | "--test-threads" | "--color" | "--logfile" | "-Z" => {
                    let _ = words.next();
                }
                other if other.starts_with('-') => {}
                _ => wish.filters.push(word),
            }
        }
        wish
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |f: &String| {
            if self.is_exact {
                name == f
            } else {
                name.contains(f.as_str())
            }
        };
        !self.is_ignored_only
            && (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skips.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(line: &str) -> Wish {
        Wish::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn tests_are_chosen_as_libtest_does() {
        assert!(wish("").wants("a_test"));
        assert!(wish("test").wants("a_test") && !wish("--exact test").wants("a_test"));
        assert!(!wish("--skip a_ --nocapture").wants("a_test"));
        assert!(!wish("--list --ignored").wants("a_test"));
        assert!(wish("--format terse --list").wants("a_test"));
    }

    #[test]
    fn of_tests_that_run_together_each_runs_once_and_none_hides_another() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        fn passes() -> Result<()> {
            RUNS.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        fn fails() -> Result<()> {
            anyhow::bail!("on purpose")
        }
        fn panics() -> Result<()> {
            panic!("on purpose")
        }
        let all: [Test; 5] = [
            ("a", passes),
            ("b", fails),
            ("c", passes),
            ("d", panics),
            ("e", passes),
        ];
        let wanted: Vec<_> = all.iter().collect();
        for at_a_time in [1, 2, 9] {
            RUNS.store(0, Ordering::Relaxed);
            let counts = run_all(&wanted, at_a_time, Counts::default());
            assert_eq!(RUNS.load(Ordering::Relaxed), 3);
            assert_eq!(counts.failed.into_inner(), 2);
        }
    }

    #[test]
    fn a_second_try_is_told_of_and_saves_nobody_who_fails_again() {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        fn fails_once() -> Result<()> {
            anyhow::ensure!(RUNS.fetch_add(1, Ordering::Relaxed) > 0, "too busy");
            Ok(())
        }
        fn fails() -> Result<()> {
            anyhow::bail!("on purpose")
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report");
        let all: [Test; 2] = [("once", fails_once), ("always", fails)];
        let counts = Counts {
            report: Some(file.clone()),
            ..Counts::default()
        };
        let counts = run_all(&all.iter().collect::<Vec<_>>(), 1, counts);
        assert_eq!(counts.failed.into_inner(), 1);
        let told = std::fs::read_to_string(file).unwrap();
        let told: Vec<_> = told.lines().collect();
        let once = "once held only the second time; the first time: too busy";
        assert_eq!(told, [once, "always failed twice: on purpose"]);
    }
}
