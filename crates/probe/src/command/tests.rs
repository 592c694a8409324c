use std::{fs, net::IpAddr, path::Path, sync::Arc};

use nix::{
    sys::signal::Signal,
    unistd::{Pid, Uid, User},
};
use tokio::task::LocalSet;
use uplinkd_model::{Service, Subject, UplinkName, target::Ask};

use super::*;
use crate::program::{may_become_others, user};

/// Runs a script of a shell as ourselves.
fn script(text: &str, limit: Duration) -> Result<Duration, String> {
    let own = User::from_uid(Uid::effective()).unwrap().unwrap().name;
    run_here(program(&["/bin/sh", "-c", text], limit, Some(own)))
}

fn program(words: &[&str], limit: Duration, user: Option<String>) -> Program {
    Program {
        words: words.iter().map(|w| (*w).to_owned()).collect(),
        limit,
        user,
    }
}

fn run_here(program: Program) -> Result<Duration, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    LocalSet::new().block_on(&runtime.unwrap(), async {
        let (line, question) = asked(&program);
        run(&line, &question, &program).await
    })
}

fn asked(program: &Program) -> (Line, Question) {
    let service = Service {
        ask: Ask::Command(program.clone()),
        family: None,
    };
    let line = Line {
        uplink: UplinkName::new("isp1").unwrap(),
        family: Family::V6,
        device: "eth1".to_owned(),
        mark: Some(0x0100_0000),
    };
    let question = Question {
        subject: Subject::Service(Arc::new(service)),
        family: Family::V6,
        source: Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1])),
        limit: Duration::from_secs(60),
    };
    (line, question)
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn exit_code_0_is_an_answer_and_others_are_told_with_the_last_words() {
    assert!(script("exit 0", LONG).is_ok());
    assert_eq!(script("exit 3", LONG).unwrap_err(), "exit code 3");
    let told = script("echo looked; echo 'no light' >&2; exit 1", LONG).unwrap_err();
    assert!(
        told == "exit code 1: no light" || told == "exit code 1: looked",
        "{told}"
    );
    assert_eq!(
        script("kill -TERM $$", LONG).unwrap_err(),
        "killed by signal 15"
    );
}

#[test]
fn a_program_that_is_none_is_named() {
    let told = run_here(program(&["/nowhere/check"], LONG, None)).unwrap_err();
    assert_eq!(told, "cannot run /nowhere/check: no such file or directory");
    let told = run_here(program(
        &["/bin/true"],
        LONG,
        Some("no-such-user".to_owned()),
    ));
    assert!(
        told.unwrap_err()
            .starts_with("cannot run as no-such-user: ")
    );
}

#[test]
fn the_environment_says_what_is_tested_and_nothing_else() {
    let wanted =
        "test \"$UPLINK,$FAMILY,$DEVICE,$MARK,$SOURCE\" = isp1,ipv6,eth1,0x1000000,2001:db8::1";
    assert!(script(wanted, LONG).is_ok());
    assert!(
        script(
            "test -z \"$CARGO_PKG_NAME$HOME\" && test \"$PWD\" = /",
            LONG
        )
        .is_ok()
    );
}

#[test]
fn words_are_taken_to_the_end_and_kept_only_so_far() {
    let told = script("yes | head -c 1000000; exit 1", LONG).unwrap_err();
    assert!(told.len() < 200, "{}", told.len());
}

/// Whether a process runs; one that only waits for somebody to hear of its end does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

fn pids(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn one_that_hangs_is_killed_with_all_that_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let text = format!("sleep 1000 & echo $! $$ > {}; sleep 1000", file.display());
    let told = script(&text, Duration::from_millis(500)).unwrap_err();
    assert_eq!(told, "still running after 500ms, and ended");
    let pids = pids(&file);
    assert_eq!(pids.len(), 2);
    while pids.iter().any(|pid| runs(pid)) {
        std::thread::yield_now();
    }
}

#[test]
fn one_that_nobody_waits_for_any_more_is_killed_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    let own = User::from_uid(Uid::effective()).unwrap().unwrap().name;
    let text = format!("echo $$ > {}; sleep 1000", file.display());
    let program = program(&["/bin/sh", "-c", &text], LONG, Some(own));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    LocalSet::new().block_on(&runtime.unwrap(), async {
        let (line, question) = asked(&program);
        let begun = async {
            while pids(&file).is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = run(&line, &question, &program) => panic!("it ended"),
            () = begun => {}
        }
    });
    while pids(&file).iter().any(|pid| runs(pid)) {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_left_behind_does_not_hold_the_answer() {
    // It keeps both pipes, and its own group.
    let left = "sleep 1000 & echo $!; exit 1";
    let told = script(left, LONG).unwrap_err();
    let pid = told.strip_prefix("exit code 1: ").unwrap().to_owned();
    assert!(runs(&pid));
    let pid = Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
}

#[test]
fn root_runs_programs_as_nobody() {
    if may_become_others() {
        let who =
            "test \"$(id -u)\" != 0 && test \"$(id -g)\" != 0 && test \"$(id -G | wc -w)\" = 1";
        let result = run_here(program(&["/bin/sh", "-c", who], LONG, None));
        assert!(result.is_ok(), "{result:?}");
    } else {
        assert_eq!(user(None), Ok(None));
    }
}
