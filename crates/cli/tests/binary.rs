//! The program itself against a real server: exit codes, streams, closed pipes.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

use uplinkd_api::{
    ApiError, Budgeted, Decision, DecisionKind, Event, Explain, ExplainQuery, Failback, History,
    Level, NotifyResult, NotifyTested, Operated, Policies, Probed, ReserveStatus, State, Status,
    Support, socket_path,
};
use uplinkd_web::{Operation, Refused, Request, Shared, bind, serve};

#[test]
fn exit_codes_answer_the_question() {
    for (state, code) in [
        (State::Up, 0),
        (State::Degraded, 0),
        (State::Starting, 0),
        (State::Down, 1),
    ] {
        let daemon = Daemon::start(state);
        let output = daemon.ctl("status");
        assert_eq!(output.status.code(), Some(code), "{state:?}: {output:?}");
        assert!(!output.stdout.contains(&0x1b), "colour in a pipe");
        let json = daemon.ctl("status --json");
        assert_eq!(json.status.code(), Some(code));
        let read: Status = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(read.state, state);
    }
    let daemon = Daemon::start(State::Up);
    assert_eq!(daemon.ctl("explain --to 1.1.1.1").status.code(), Some(0));
    assert_eq!(daemon.ctl("explain --to 9.9.9.9").status.code(), Some(1));
    assert_eq!(daemon.ctl("explain --to nowhere").status.code(), Some(2));
    let mixed = daemon.ctl("explain --to 1.1.1.1 --from ::1");
    assert_eq!(mixed.status.code(), Some(2), "{mixed:?}");
    assert_eq!(daemon.ctl("policies").status.code(), Some(0));
    assert_eq!(daemon.ctl("policies --json").status.code(), Some(0));
    for (group, code) in [("calls", 0), ("nothing-waits", 1), ("unknown", 2)] {
        let output = daemon.ctl(&format!("failback {group}"));
        assert_eq!(output.status.code(), Some(code), "{group}: {output:?}");
    }
    let history = daemon.ctl("history isp9 --since 1h --step 1m");
    assert_eq!(history.status.code(), Some(0), "{history:?}");
    assert!(String::from_utf8_lossy(&history.stderr).contains("nothing is known of uplink isp9"));
    let asked = daemon.ctl("history --since 30d --json");
    let asked: History = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(asked.until - asked.since, 30 * 86_400 + 1);
    let csv = daemon.ctl("history --csv");
    assert!(
        csv.stdout.starts_with(b"time,uplink,family,target,sent,"),
        "{csv:?}"
    );
    assert_eq!(daemon.ctl("history --csv --json").status.code(), Some(2));
    assert_eq!(
        daemon.ctl("history --since yesterday").status.code(),
        Some(2)
    );
    assert_eq!(daemon.ctl("report --month 2026-11").status.code(), Some(2));
    let gone = ctl(daemon.directory.path(), "explain --connection")
        .arg("tcp 10.0.0.1:1 1.1.1.1:2")
        .output()
        .unwrap();
    assert_eq!(gone.status.code(), Some(1), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("no such connection"));
    assert_eq!(daemon.ctl("").status.code(), Some(2));
    assert_eq!(daemon.ctl("--help").status.code(), Some(0));
}

#[test]
fn a_report_of_a_mistake_has_its_parts_and_no_secret_whoever_let_it_through() {
    let daemon = Daemon::start(State::Up);
    for text in [
        "asked https://hooks.example.org/secret-6/secret-7: 500",
        r#"webhook "token": "secret-8 secret-9", password: secret-10 and secret-11"#,
        "command /bin/check --key secret-12 fails",
    ] {
        daemon.tell(text);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bug.txt");
    let words = format!("report --bug --output {}", file.display());
    let output = daemon.ctl(&words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    let secret = text.lines().find(|l| l.contains("secret-"));
    assert_eq!(secret, None);
    for part in [
        "uplinkctl.txt",
        "status.json",
        "config.toml",
        "kernel.txt",
        "events.json",
        "metrics.txt",
        "journal.txt",
    ] {
        assert!(
            text.contains(&format!("\n===== {part}\n")),
            "{part}: {text}"
        );
    }
    let last = text.rsplit("\n===== ").next().unwrap();
    assert!(
        last.starts_with("samples.csv\ntime,uplink\n1,isp1,"),
        "{last}"
    );
    assert!(
        text.contains("80.1.2.3 via 80.1.2.1") && text.contains("hooks.example.org"),
        "{text}"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "others may read it");
    // Nothing is overwritten.
    assert_eq!(daemon.ctl(&words).status.code(), Some(2));
    let shown = daemon.ctl("report --bug --anonymize --output -");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("198.18.0.3 via 198.18.0.1"), "{shown}");
    assert!(
        !shown.contains("80.1.2.") && !shown.contains("secret-"),
        "{shown}"
    );
    // Without a daemon there is less, and it says so.
    let alone = ctl(folder.path(), "report --bug --output -")
        .output()
        .unwrap();
    assert_eq!(alone.status.code(), Some(0), "{alone:?}");
    assert!(String::from_utf8_lossy(&alone.stderr).contains("status.json is missing"));
    assert_eq!(daemon.ctl("report --anonymize").status.code(), Some(2));
}

#[test]
fn a_whole_screen_needs_a_terminal_and_names_what_does_not() {
    let daemon = Daemon::start(State::Up);
    let output = daemon.ctl("top");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`top` needs a terminal"), "{said}");
    assert!(said.contains("uplinkctl status --watch"), "{said}");
}

#[test]
fn completions_and_the_manual_are_made_of_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = ctl(folder.path(), &format!("completions {shell}"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        for word in ["explain", "failback", "if-down"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
        if shell == "bash" {
            let script = folder.path().join("completions.bash");
            std::fs::write(&script, text).unwrap();
            // Where there is one: whether it can read it at all.
            if let Ok(status) = Command::new("bash").arg("-n").arg(&script).status() {
                assert!(status.success());
            }
        }
    }
    let pages = folder.path().join("man/man1");
    let manual = format!("manual {}", pages.display());
    assert!(ctl(folder.path(), &manual).status().unwrap().success());
    let explain = std::fs::read_to_string(pages.join("uplinkctl-explain.1")).unwrap();
    assert!(
        explain.contains("if\\-down") && explain.contains("runtime\\-dir"),
        "{explain}"
    );
    assert!(!pages.join("uplinkctl-manual.1").exists(), "it is hidden");
    let refused = ctl(folder.path(), "manual /dev/null/x").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_replay_needs_no_daemon_and_answers_whether_the_file_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let file = "[uplink.isp1]\ninterface = \"eth1\"\n[uplink.isp2]\ninterface = \"eth2\"\n\
                [probe]\ntargets = [\"icmp:192.0.2.1\"]\n";
    std::fs::write(path("present.toml"), file).unwrap();
    std::fs::write(path("blind.toml"), format!("{file}interval = \"10m\"\n")).unwrap();
    std::fs::write(path("bad.toml"), "uplinks = 3\n").unwrap();
    let mut trace = String::new();
    for second in 0..120 {
        let is_dead = (60..90).contains(&second);
        let rtt = if is_dead { "timeout" } else { "15" };
        trace += &format!("{second},isp1,192.0.2.1,{rtt}\n{second},isp2,192.0.2.1,15\n");
    }
    std::fs::write(path("trace.csv"), &trace).unwrap();
    std::fs::write(path("garbled.csv"), format!("{trace}x,y,z\n")).unwrap();
    let replay = |arguments: &str| {
        let words = arguments.split(' ').map(|word| match word.contains('.') {
            true => path(word),
            false => word.to_owned(),
        });
        let mut command = ctl(directory.path(), "replay");
        command.args(words).output().unwrap()
    };
    for (arguments, code, said) in [
        ("trace.csv --config present.toml", 0, "isp1 -> isp2"),
        ("trace.csv --config present.toml --with blind.toml", 1, ""),
        (
            "trace.csv --config missing.toml --with present.toml",
            0,
            "nothing to compare with",
        ),
        ("trace.csv --config missing.toml", 2, "cannot read"),
        ("trace.csv --config bad.toml", 2, "bad.toml:1"),
        (
            "garbled.csv --config present.toml",
            2,
            "garbled.csv:241: `x` is no time",
        ),
        ("missing.csv --config present.toml", 2, "No such file"),
    ] {
        let output = replay(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let all = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        assert!(
            all.replace("isp1, isp2 -> isp2", "isp1 -> isp2")
                .contains(said),
            "{arguments}: {all}"
        );
        assert!(!output.stdout.contains(&0x1b), "colour in a pipe");
    }
    let json = replay("trace.csv --config present.toml --with blind.toml --json").stdout;
    let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(read["replays"][0]["lines"][0]["failovers"], 1);
    assert_eq!(read["replays"][1]["lines"][0]["missed"], 1);
}

#[test]
fn a_missing_daemon_is_named_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    for command in [
        "status",
        "events",
        "events --follow",
        "explain --to 1.1.1.1",
    ] {
        let output = ctl(directory.path(), command).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{command}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("uplinkd.sock"), "{said}");
        assert!(said.contains("hint: is `uplinkd run` running?"), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn orders_end_with_what_came_of_them() {
    let daemon = Daemon::start(State::Up);
    let said = |words: &str| {
        let output = daemon.ctl(words);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let drained = said("drain isp1 --for 2h --why modem");
    assert_eq!(
        (drained.0, drained.1.as_str()),
        (Some(0), "isp1 runs empty\n")
    );
    let json: serde_json::Value = serde_json::from_str(&said("drain isp1 --json").1).unwrap();
    assert_eq!(json["until"], 9.0);
    assert_eq!(said("undrain isp1").0, Some(1), "409 says no");
    assert_eq!(said("confirm").0, Some(1));
    assert_eq!(said("probe isp1").0, Some(0));
    assert_eq!(said("probe isp2 --json").0, Some(1));
    assert_eq!(said("notify-test").0, Some(0));
    let (code, text, _) = said("notify-test --channel phone");
    assert_eq!(code, Some(1));
    assert!(text.contains("not told: connection refused"), "{text}");
    assert_eq!(said("notify-test --channel nobody").0, Some(2));
    let (code, out, err) = said("reload --confirm 60s");
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains(" --> uplinkd.toml:7\n"), "{err}");
    let (code, out, _) = said("reload --json");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["problems"][0]["line"]), (Some(2), &7.into()));
    for bad in [
        "drain isp1 --for 2",
        "prefer isp1",
        "reload --confirm 2d",
        "undrain",
    ] {
        assert_eq!(said(bad).0, Some(2), "{bad}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let daemon = Daemon::start(State::Down);
    for number in 0..900 {
        daemon.publish(number);
    }
    for command in [
        "status",
        "status --watch",
        "events",
        "events --follow --json",
    ] {
        let mut child = ctl(daemon.directory.path(), command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.code().is_some(), "{command}: {output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panicked"), "{command}: {said}");
    }
}

#[test]
fn following_goes_on_where_the_list_ends() {
    let daemon = Daemon::start(State::Up);
    daemon.publish(0);
    daemon.publish(1);
    let mut child = ctl(daemon.directory.path(), "events --follow --json")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<Event>(&line).unwrap().text
    };
    assert_eq!(
        (next(), next()),
        ("event 0".to_owned(), "event 1".to_owned())
    );
    daemon.publish(2);
    assert_eq!(next(), "event 2");
    child.kill().unwrap();
    child.wait().unwrap();
    let since = daemon.ctl("events --since 1001");
    let shown = String::from_utf8(since.stdout).unwrap();
    assert!(shown.ends_with("info  event 2\n"), "{shown}");
    assert_eq!(shown.lines().count(), 1);
}

fn ctl(runtime_dir: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uplinkctl"));
    command
        .env("UPLINKD_RUNTIME_DIR", runtime_dir)
        .args(words.split_whitespace());
    command
}

/// A server on a thread of its own, with a loop that always says the same.
struct Daemon {
    directory: tempfile::TempDir,
    shared: Shared,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Daemon {
    fn start(state: State) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = socket_path(directory.path());
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let (shared, mut queue) = Shared::new(1000);
                let listener = bind(&path).unwrap();
                tell.send(shared.clone()).unwrap();
                tokio::spawn(async move {
                    while let Some(request) = queue.recv().await {
                        answer(request, state);
                    }
                });
                serve(listener, shared, async {
                    let _ = stopped.await;
                })
                .await;
            });
        });
        Self {
            directory,
            shared: told.recv().unwrap(),
            _stop: stop,
        }
    }

    fn publish(&self, number: usize) {
        self.tell(&format!("event {number}"));
    }

    fn tell(&self, text: &str) {
        self.shared.publish(Event {
            id: 0,
            time: 0.0,
            level: Level::Info,
            kind: "test".to_owned(),
            text: text.to_owned(),
            detail: serde_json::Value::Null,
        });
    }

    fn ctl(&self, words: &str) -> Output {
        ctl(self.directory.path(), words).output().unwrap()
    }
}

fn answer(request: Request, state: State) {
    // Whoever asked may be gone.
    match request {
        Request::Status(answer) => drop(answer.send(a_status(state))),
        Request::Policies(answer) => drop(answer.send(Policies::default())),
        Request::Explain(query, answer) => drop(answer.send(Ok(an_explanation(query)))),
        Request::ExplainConnection(_, answer) => {
            let error = ApiError::new("no such connection");
            drop(answer.send(Err(Refused::NotFound(error))));
        }
        Request::History(query, answer) => drop(answer.send(Ok(History {
            since: query.since.unwrap_or_default(),
            until: query.until.unwrap_or_default(),
            step: query.step.unwrap_or(10),
            series: Vec::new(),
            trouble: None,
        }))),
        Request::Report(_, answer) => {
            let error = ApiError::new("no history is kept");
            drop(answer.send(Err(Refused::NotFound(error))));
        }
        Request::Metrics(answer) => drop(answer.send(String::new())),
        Request::Support(answer) => drop(answer.send(some_texts())),
        Request::SetUsed(uplink, used, _, answer) => {
            let text = format!("{used} bytes");
            drop(answer.send(Ok(Budgeted { uplink, text })));
        }
        Request::Operate(order, _, answer) => {
            let refused = |error| Err(Refused::Conflict(error));
            drop(answer.send(match order {
                Operation::Drain(..) => Ok(Operated {
                    text: "isp1 runs empty".to_owned(),
                    until: Some(9.0),
                }),
                Operation::Reload(_) => Err(Refused::Unfit(ApiError {
                    report: Some("error: a mistake\n --> uplinkd.toml:7\n".to_owned()),
                    problems: Some(serde_json::json!([{ "line": 7 }])),
                    ..ApiError::new("uplinkd.toml:7: a mistake")
                })),
                Operation::Undrain(_)
                | Operation::Prefer(..)
                | Operation::Unprefer
                | Operation::Confirm
                | Operation::Rollback => refused(ApiError::new("there is nothing to do")),
            }));
        }
        Request::Probe(uplink, answer) => drop(answer.send(Ok(Probed {
            up: uplink == "isp1",
            uplink,
            families: vec![],
        }))),
        Request::NotifyTest(channel, _, answer) => {
            let told = channel.is_none();
            drop(answer.send(match channel.as_deref() {
                Some("nobody") => Err(Refused::NotFound(ApiError::new("no such channel"))),
                channel => Ok(NotifyTested {
                    told,
                    results: vec![NotifyResult {
                        channel: channel.unwrap_or("mail").to_owned(),
                        part: None,
                        took_ms: 1.0,
                        problem: (!told).then(|| "connection refused".to_owned()),
                    }],
                }),
            }));
        }
        Request::Failback(group, _, answer) => {
            let error = || ApiError::new("no");
            drop(answer.send(match group.as_str() {
                "calls" => Ok(Failback {
                    group,
                    text: "returns to tier 1".to_owned(),
                }),
                "nothing-waits" => Err(Refused::Conflict(error())),
                _ => Err(Refused::NotFound(error())),
            }));
        }
    }
}

fn an_explanation(query: ExplainQuery) -> Explain {
    let kind = if query.to.to_string() == "9.9.9.9" {
        DecisionKind::Unreachable
    } else {
        DecisionKind::Main
    };
    Explain {
        query,
        policies: Vec::new(),
        policies_before: 0,
        policies_not_asked: None,
        steps: Vec::new(),
        decision: Decision {
            kind,
            table: None,
            policy: None,
            group: None,
            tier: None,
            uplinks: Vec::new(),
            last_resort: false,
        },
        kernel_says: None,
        text: "so it is".to_owned(),
    }
}

/// What a daemon that let secrets through would answer.
fn some_texts() -> Support {
    let texts = [
        (
            "config.toml",
            "targets = [\"https://u:secret-1@h/secret-2?t=secret-3\"]\n",
        ),
        (
            "samples.csv",
            "time,uplink\n1,isp1,command /bin/x --pin secret-4,2\n",
        ),
        (
            "kernel.txt",
            "80.1.2.3 via 80.1.2.1 Authorization: Bearer secret-5\n",
        ),
    ];
    Support {
        texts: texts.map(|(n, t)| (n.to_owned(), t.to_owned())).into(),
    }
}

fn a_status(state: State) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 1,
        started: 1.0,
        time: 2.5,
        state,
        since: 1.0,
        summary: "for no reason".to_owned(),
        settled: true,
        last_problem: None,
        trial: None,
        rolled_back: None,
        notify: Vec::new(),
        uplinks: Vec::new(),
        groups: Vec::new(),
        sysctls: Vec::new(),
        reserve: ReserveStatus::from(&uplinkd_model::Reserve::default()),
    }
}
