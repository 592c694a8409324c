//! The server and the client of `uplinkd-api`, talking over a real socket.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::{io::Read as _, ops::ControlFlow, path::PathBuf, time::Duration};

use flate2::read::GzDecoder;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::mpsc,
};
use uplinkd_api::{
    ApiError, Budgeted, Client, ClientError, ConnectionQuery, ConnectionStatus, Decision,
    DecisionKind, Event, Explain, ExplainConnection, ExplainQuery, Failback, Followed, History,
    HistoryQuery, Level, NotifyResult, NotifyTested, Operated, Policies, PolicyStatus, ReportQuery,
    ReserveStatus, State, Status, Support,
};
use uplinkd_web::{EVENTS_MAX, Operation, Refused, Request, Shared, bind, serve};

#[tokio::test]
async fn status_and_explain_are_answered_by_the_loop() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    let status = daemon.client.status().await.unwrap();
    assert_eq!(status, a_status());
    let query = ExplainQuery {
        if_down: vec!["isp1".to_owned()],
        ..ExplainQuery::to("1.1.1.1".parse().unwrap())
    };
    let explain = daemon.client.explain(&query).await.unwrap();
    assert_eq!(explain.query, query);
    let refused = daemon
        .client
        .explain(&ExplainQuery::to("::1".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(!refused.is_unreachable());
    assert!(
        matches!(&refused, ClientError::Refused { status: 422, source } if source.message == "no v6"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn policies_and_connections_are_answered_by_the_loop() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    assert_eq!(daemon.client.policies().await.unwrap(), some_policies());
    let query: ConnectionQuery = "tcp 192.168.1.20:40000 1.1.1.1:443".parse().unwrap();
    let explained = daemon.client.explain_connection(&query).await.unwrap();
    assert_eq!(explained.query, query);
    let gone = ConnectionQuery {
        to: "9.9.9.9".parse().unwrap(),
        ..query
    };
    let refused = daemon.client.explain_connection(&gone).await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { status: 404, source } if source.message == "no such connection"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_was_used_of_a_budget_is_set_by_a_number() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    let done = daemon.client.set_budget("lte", 12_000_000).await.unwrap();
    assert_eq!(
        (done.uplink.as_str(), done.text.as_str()),
        ("lte", "12000000 bytes")
    );
    let bad = daemon
        .raw(b"POST /v1/uplinks/lte/budget/many HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await;
    assert!(bad.starts_with("HTTP/1.1 400 "), "{bad}");
}

#[tokio::test]
async fn a_failback_is_done_or_refused_with_a_reason() {
    // The tests run as the daemon's own user, who may.
    let mut daemon = Daemon::start();
    daemon.answer_all();
    let done = daemon.client.failback("calls").await.unwrap();
    assert_eq!(done.group, "calls");
    for (group, expected) in [("nothing-waits", 409), ("a/../b c%?", 404), ("", 404)] {
        let refused = daemon.client.failback(group).await.unwrap_err();
        assert!(
            matches!(refused, ClientError::Refused { status, .. } if status == expected),
            "{group:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn orders_carry_their_times_and_reasons_and_bad_ones_are_refused() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    let client = &daemon.client;
    let said = client.drain("isp1", Some(7200), Some("new modem & more"));
    assert_eq!(
        said.await.unwrap().text,
        r#"Drain("isp1", Some(7200s)) Some("new modem & more")"#
    );
    let said = client.prefer("a/b?", 60, None).await.unwrap().text;
    assert_eq!(said, r#"Prefer("a/b?", 60s) None"#);
    let refused = |done: Result<Operated, ClientError>| match done {
        Err(ClientError::Refused { status, source }) => (status, source),
        other => panic!("{other:?}"),
    };
    let long = "x".repeat(201);
    for done in [
        client.drain("isp1", Some(0), None).await,
        client.drain("isp1", Some(366 * 86_400), None).await,
        client.undrain("isp1", Some("two\nlines")).await,
        client.confirm(Some(&long)).await,
        client.reload(Some(86_401), None).await,
    ] {
        assert_eq!(refused(done).0, 422);
    }
    let (status, error) = refused(client.reload(Some(60), None).await);
    assert_eq!(
        (status, error.report.as_deref()),
        (422, Some("error: no\n"))
    );
    let probed = client.probe("isp9").await.unwrap_err();
    assert!(matches!(probed, ClientError::Refused { status: 404, .. }));
}

#[tokio::test]
async fn history_is_asked_for_by_parameters_and_answered_in_either_form() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    let query = HistoryQuery {
        uplink: Some("isp1".to_owned()),
        step: Some(60),
        ..HistoryQuery::default()
    };
    let history = daemon.client.history(&query).await.unwrap();
    assert_eq!((history.since, history.until, history.step), (1, 2, 60));
    assert_eq!(history.trouble.as_deref(), Some("isp1"));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let csv = daemon.raw(get("/v1/history?format=csv").as_bytes()).await;
    assert!(
        csv.contains("content-type: text/csv") && csv.contains("time,uplink,"),
        "{csv}"
    );
    // Most of a long answer is the same again and again.
    let request = get("/v1/history").replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n");
    let packed = daemon.raw_bytes(request.as_bytes()).await;
    let end = packed.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&packed[..end]);
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let mut text = String::new();
    GzDecoder::new(&packed[end + 4..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.starts_with("{\"since\":1,"), "{text}");
    let bad = daemon
        .raw(get("/v1/history?since=yesterday").as_bytes())
        .await;
    assert!(
        bad.starts_with("HTTP/1.1 400 ") && bad.contains("yesterday"),
        "{bad}"
    );
    let query = ReportQuery {
        month: Some("2026-11".to_owned()),
        ..ReportQuery::default()
    };
    let refused = daemon.client.report(&query).await.unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused { status: 404, .. }),
        "{refused:?}"
    );
    let figures = daemon.raw(get("/metrics").as_bytes()).await;
    let is_text = figures.contains("content-type: text/plain; version=0.0.4");
    assert!(is_text && figures.ends_with("uplinkd_x 1\n"), "{figures}");
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_is_bounded_and_not_waited_for() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    for (length, status) in [(10, 200), (2_000_000, 413)] {
        let head = format!(
            "POST /v1/groups/calls/failback HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        );
        let request = [head.as_bytes(), &[b'x'; 10]].concat();
        let answer = daemon.raw(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{length}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_stuck_loop_is_told_apart_from_a_daemon_that_is_gone() {
    let mut daemon = Daemon::start();
    let shared = daemon.shared.clone();
    // The loop takes the question and drops it.
    let mut queue = daemon.queue.take().unwrap();
    tokio::spawn(async move { while queue.recv().await.is_some() {} });
    let error = daemon.client.status().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 503, .. }),
        "{error:?}"
    );
    drop(shared);

    let nobody = Client::new(daemon.path.with_file_name("nobody.sock"));
    let error = nobody.status().await.unwrap_err();
    assert!(error.is_unreachable());
    assert!(error.to_string().contains("nobody.sock"), "{error}");
    assert!(error.hint().unwrap().contains("--runtime-dir"));
}

#[tokio::test]
async fn events_are_told_once_and_in_order_to_whoever_follows() {
    let daemon = Daemon::start();
    for number in 0..5 {
        daemon.publish(number);
    }
    let all = daemon.client.events(None).await.unwrap();
    assert_eq!(all.events.len(), 5);
    assert_eq!(all.events[0].id, FIRST_ID);
    let late = daemon.client.events(Some(FIRST_ID + 3)).await.unwrap();
    assert_eq!(late.events.len(), 1);
    assert!(!late.incomplete);

    let mut ids = Vec::new();
    daemon
        .client
        .follow_events(Some(FIRST_ID + 2), |followed| {
            match followed {
                // The stream is open: what happens now must arrive after what was there.
                Followed::Connected => (5..8).for_each(|number| daemon.publish(number)),
                Followed::Event(event) => ids.push(event.id - FIRST_ID),
                Followed::Resync => panic!("nothing was missed"),
            }
            if ids.len() == 5 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .await
        .unwrap();
    assert_eq!(ids, [3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn whoever_is_too_far_behind_is_told_to_look_again() {
    let daemon = Daemon::start();
    for number in 0..EVENTS_MAX as u64 + 10 {
        daemon.publish(number);
    }
    let mut first = None;
    daemon
        .client
        .follow_events(Some(FIRST_ID), |followed| match followed {
            Followed::Connected => ControlFlow::Continue(()),
            other @ (Followed::Event(_) | Followed::Resync) => {
                first = Some(other);
                ControlFlow::Break(())
            }
        })
        .await
        .unwrap();
    assert_eq!(first, Some(Followed::Resync));

    // One that stops reading while a lot happens.
    let mut seen = Vec::new();
    let mut has_flooded = false;
    daemon
        .client
        .follow_events(None, |followed| {
            if !has_flooded {
                has_flooded = true;
                (0..2000).for_each(|number| daemon.publish(number));
            }
            let is_resync = followed == Followed::Resync;
            seen.push(followed);
            if is_resync {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .await
        .unwrap();
    assert_eq!(seen.last(), Some(&Followed::Resync));
}

#[tokio::test]
async fn stopping_ends_streams_too() {
    let daemon = Daemon::start();
    let stop = daemon.stop.clone();
    let ended = daemon
        .client
        .follow_events(None, |followed| {
            assert_eq!(followed, Followed::Connected);
            stop.try_send(()).unwrap();
            ControlFlow::Continue(())
        })
        .await
        .unwrap_err();
    assert!(matches!(ended, ClientError::Broken { .. }), "{ended:?}");
}

#[tokio::test]
async fn nonsense_is_refused_with_an_explanation() {
    let daemon = Daemon::start();
    for (request, status, word) in [
        (
            "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
            404,
            "no such path",
        ),
        (
            "POST /v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            405,
            "read with GET",
        ),
        (
            "GET /v1/groups/calls/failback HTTP/1.1\r\nHost: x\r\n\r\n",
            405,
            "wants POST",
        ),
        (
            "GET /v1/explain/connection?to=1.1.1.1 HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
            "`from` is missing",
        ),
        (
            "GET /v1/explain?to=1.1.1.1&protocol=icmp&dport=1 HTTP/1.1\r\nHost: x\r\n\r\n",
            422,
            "ICMP has no ports",
        ),
        (
            "GET /v1/events?since=9007199254740992 HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
            "more than 9007199254740991",
        ),
        (
            "GET /v1/events?since=x HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
            "id of an event",
        ),
        (
            "GET /v1/explain HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
            "`to` is missing",
        ),
        ("rubbish\r\n\r\n", 400, ""),
    ] {
        let answer = daemon.raw(request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(answer.contains(word), "{request}: {answer}");
    }
    let long = format!(
        "GET /v1/status HTTP/1.1\r\nHost: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let answer = daemon.raw(long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn silent_clients_are_cut_off_and_too_many_are_turned_away() {
    let mut daemon = Daemon::start();
    daemon.answer_all();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(UnixStream::connect(&daemon.path).await.unwrap());
    }
    let turned_away = daemon.client.status().await.unwrap_err();
    assert!(turned_away.is_unreachable(), "{turned_away:?}");
    let mut end = Vec::new();
    for stream in &mut silent {
        // The head of a request takes them too long.
        tokio::time::timeout(Duration::from_secs(8), stream.read_to_end(&mut end))
            .await
            .expect("cut off")
            .ok();
    }
    daemon.client.status().await.unwrap();
}

const FIRST_ID: u64 = 1000;

struct Daemon {
    path: PathBuf,
    client: Client,
    shared: Shared,
    queue: Option<mpsc::Receiver<Request>>,
    stop: mpsc::Sender<()>,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = uplinkd_api::socket_path(directory.path());
        let (shared, queue) = Shared::new(FIRST_ID);
        let (stop, mut stopped) = mpsc::channel(1);
        let listener = bind(&path).unwrap();
        let serving = shared.clone();
        tokio::spawn(serve(listener, serving, async move {
            stopped.recv().await;
        }));
        Self {
            client: Client::new(&path),
            path,
            shared,
            queue: Some(queue),
            stop,
            _directory: directory,
        }
    }

    /// Stands in for the daemon's loop.
    fn answer_all(&mut self) {
        tokio::spawn(answer(self.queue.take().unwrap()));
    }

    fn publish(&self, number: u64) {
        self.shared.publish(Event {
            id: 0,
            time: 0.0,
            level: Level::Info,
            kind: "test".to_owned(),
            text: format!("number {number} {}", "x".repeat(300)),
            detail: serde_json::Value::Null,
        });
    }

    async fn raw(&self, request: &[u8]) -> String {
        String::from_utf8(self.raw_bytes(request).await).unwrap()
    }

    async fn raw_bytes(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // The server may close before it has read a request that is too long.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}

async fn answer(mut queue: mpsc::Receiver<Request>) {
    while let Some(request) = queue.recv().await {
        match request {
            Request::Status(answer) => answer.send(a_status()).unwrap(),
            Request::Policies(answer) => answer.send(some_policies()).unwrap(),
            Request::Explain(query, answer) if query.to.is_ipv6() => {
                let refused = Refused::Bad(ApiError::new("no v6"));
                answer.send(Err(refused)).unwrap();
            }
            Request::Explain(query, answer) => answer.send(Ok(an_explanation(query))).unwrap(),
            Request::ExplainConnection(query, answer) => {
                answer.send(a_connection(query)).unwrap();
            }
            Request::History(query, answer) => answer.send(a_history(query)).unwrap(),
            Request::Report(query, answer) => {
                let error = ApiError::new(format!("{:?}", query.month));
                answer.send(Err(Refused::NotFound(error))).unwrap();
            }
            Request::Support(answer) => answer.send(Support::default()).unwrap(),
            Request::Metrics(answer) => answer.send("uplinkd_x 1\n".to_owned()).unwrap(),
            Request::SetUsed(uplink, used, _, answer) => {
                let text = format!("{used} bytes");
                answer.send(Ok(Budgeted { uplink, text })).unwrap();
            }
            Request::Failback(group, _, answer) => answer.send(a_failback(group)).unwrap(),
            Request::Operate(Operation::Reload(_), _, answer) => {
                let error = ApiError {
                    report: Some("error: no\n".to_owned()),
                    ..ApiError::new("no")
                };
                answer.send(Err(Refused::Unfit(error))).unwrap();
            }
            Request::Operate(order, caller, answer) => {
                let text = format!("{order:?} {:?}", caller.why);
                answer.send(Ok(Operated { text, until: None })).unwrap();
            }
            Request::NotifyTest(channel, caller, answer) => {
                let result = NotifyResult {
                    channel: channel.unwrap_or_default(),
                    part: caller.why,
                    took_ms: 1.0,
                    problem: None,
                };
                let results = vec![result];
                let tested = NotifyTested {
                    told: true,
                    results,
                };
                answer.send(Ok(tested)).unwrap();
            }
            Request::Probe(_, answer) => {
                let error = ApiError::new("no such uplink");
                answer.send(Err(Refused::NotFound(error))).unwrap();
            }
        }
    }
}

/// What is asked for in the numbers of the answer.
fn a_history(query: HistoryQuery) -> Result<History, Refused> {
    Ok(History {
        since: query.since.unwrap_or(1),
        until: query.until.unwrap_or(2),
        step: query.step.unwrap_or(3),
        series: Vec::new(),
        trouble: query.uplink,
    })
}

fn a_failback(group: String) -> Result<Failback, Refused> {
    match group.as_str() {
        "calls" => Ok(Failback {
            text: "returns to tier 1".to_owned(),
            group,
        }),
        "nothing-waits" => Err(Refused::Conflict(ApiError::new("nothing waits"))),
        _ => Err(Refused::NotFound(ApiError::new("no such group"))),
    }
}

fn a_connection(query: ConnectionQuery) -> Result<ExplainConnection, Refused> {
    if query.to.to_string() == "9.9.9.9" {
        return Err(Refused::NotFound(ApiError::new("no such connection")));
    }
    Ok(ExplainConnection {
        connection: ConnectionStatus {
            protocol: "tcp".to_owned(),
            from: query.from,
            to: query.to,
            sport: query.sport,
            dport: query.dport,
            nat_source: Some("192.0.2.7".parse().unwrap()),
            nat_destination: None,
            mark: "0x1000000".to_owned(),
            uplink: Some("isp1".to_owned()),
            inbound: false,
            outlet: None,
        },
        now: an_explanation(ExplainQuery::to(query.to)),
        anew: None,
        text: "stays on isp1".to_owned(),
        query,
    })
}

fn some_policies() -> Policies {
    Policies {
        policies: vec![PolicyStatus {
            name: "voip".to_owned(),
            clauses: vec!["protocol udp".to_owned()],
            outlet: "calls".to_owned(),
            moves_flows: false,
            active: true,
            hidden_by: vec![],
            connections: Some(12),
        }],
    }
}

fn an_explanation(query: ExplainQuery) -> Explain {
    Explain {
        query,
        policies: Vec::new(),
        policies_before: 0,
        policies_not_asked: None,
        steps: Vec::new(),
        decision: Decision {
            kind: DecisionKind::Main,
            table: Some(254),
            policy: None,
            group: None,
            tier: None,
            uplinks: Vec::new(),
            last_resort: false,
        },
        kernel_says: None,
        text: "by main".to_owned(),
    }
}

fn a_status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 1,
        started: 1.0,
        time: 2.5,
        state: State::Starting,
        since: 1.0,
        summary: "just started".to_owned(),
        settled: false,
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
