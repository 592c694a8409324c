//! A small test harness for test binaries that need private namespaces, also as an ordinary user.
//!
//! libtest starts threads before any of our code runs, and the kernel gives no user namespace to a
//! process with threads. So such a test is declared with `harness = false` and its `main` calls
//! [`run`]. Tests run one after the other, since they share the machine's clock and cores. `cargo
//! test NAME`, `--list`, `--exact` and nextest work as usual.

use std::{
    env,
    io::{Write, stdout},
    panic::{AssertUnwindSafe, catch_unwind},
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
    run_all(&wanted, at_a_time).finish(wanted.len())
}

fn run_all(wanted: &[&Test], at_a_time: usize) -> Counts {
    let counts = Counts::default();
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
    taken: AtomicUsize,
    failed: AtomicUsize,
    skipped: AtomicUsize,
}

impl Counts {
    fn next(&self) -> usize {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }

    fn run(&self, (name, test): &Test) {
        let start = Instant::now();
        let verdict = match catch_unwind(AssertUnwindSafe(test)) {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(e)) if is_skip(&e) && may_skip() => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                say(&format!("test {name} ... skipped: {e:#}"));
                return;
            }
            Ok(Err(e)) => format!("FAILED\n  {e:#}"),
            Err(_) => "FAILED (panicked, see above)".to_owned(),
        };
        if verdict != "ok" {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        say(&format!(
            "test {name} ({} ms) ... {verdict}",
            start.elapsed().as_millis()
        ));
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
            let counts = run_all(&wanted, at_a_time);
            assert_eq!(RUNS.load(Ordering::Relaxed), 3);
            assert_eq!(counts.failed.into_inner(), 2);
        }
    }
}
