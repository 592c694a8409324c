//! Who gets in by which door, and how little those take of us who only stand in it. Real sockets; where
//! patience matters the clock is the test's.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests too")]

use std::{fmt::Write as _, io::ErrorKind, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use uplinkd_api::{Event, Failback, Level, Policies, Support};
use uplinkd_web::{Access, Request, Shared, Tokens, bind, bind_tcp, serve, serve_tcp};

const TOKEN: &str = "a-token-that-may-change-things";
const READER: &str = "a-token-that-may-only-read-them";
/// Longer than anything that is cut may last, by the test's clock.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn whoever_comes_by_tcp_shows_a_token() {
    let daemon = Daemon::start();
    let none = daemon.get("/v1/policies", "").await;
    assert!(none.starts_with("HTTP/1.1 401"), "{none}");
    assert!(
        none.to_lowercase().contains("www-authenticate: bearer"),
        "{none}"
    );
    assert!(none.contains("Authorization: Bearer TOKEN"), "{none}");
    for (shown, status) in [
        (format!("Bearer {TOKEN}"), 200),
        (format!("bearer {TOKEN}"), 200),
        (format!("Bearer {READER}"), 200),
        (format!("Bearer {}", &TOKEN[1..]), 401),
        (format!("Bearer {TOKEN}x"), 401),
        (format!("Bearer {}", TOKEN.to_uppercase()), 401),
        ("Bearer ".to_owned(), 401),
        (format!("Basic {TOKEN}"), 401),
        (TOKEN.to_owned(), 401),
    ] {
        let answer = daemon.get("/v1/policies", &authorization(&shown)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{shown}: {answer}"
        );
    }
    // Who may not ask does not even learn what there is.
    let nowhere = daemon.get("/nowhere", "").await;
    assert!(nowhere.starts_with("HTTP/1.1 401"), "{nowhere}");
}

#[tokio::test]
async fn a_token_for_reading_changes_nothing() {
    let daemon = Daemon::start();
    let change = async |token: &str| daemon.ask("POST", FAILBACK, &bearer(token)).await;
    let done = change(TOKEN).await;
    assert!(done.starts_with("HTTP/1.1 200"), "{done}");
    let refused = change(READER).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    assert!(refused.contains("not for reading only"), "{refused}");
    let inside = async |token: &str| daemon.get("/v1/support", &bearer(token)).await;
    assert!(inside(READER).await.starts_with("HTTP/1.1 403"));
    assert!(inside(TOKEN).await.starts_with("HTTP/1.1 200"));
    // Nor is it told what else is wrong with an order.
    let order = "/v1/uplinks/isp1/drain?for=soon";
    let refused = daemon.ask("POST", order, &bearer(READER)).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let unreadable = daemon.ask("POST", order, &bearer(TOKEN)).await;
    assert!(unreadable.starts_with("HTTP/1.1 400"), "{unreadable}");
}

#[tokio::test]
async fn pages_of_other_sites_get_nothing_not_even_with_a_token() {
    let daemon = Daemon::start();
    let port = daemon.tcp.port();
    let own = format!("127.0.0.1:{port}");
    for (host, more, status) in [
        (own.as_str(), String::new(), 200),
        (&format!("localhost:{port}"), String::new(), 200),
        (&own, format!("Origin: http://{own}\r\n"), 200),
        ("evil.example", String::new(), 403),
        (&format!("evil.example:{port}"), String::new(), 403),
        ("localhost:1", String::new(), 403),
        (&own, "Origin: http://evil.example\r\n".to_owned(), 403),
        (&own, "Origin: null\r\n".to_owned(), 403),
        (&own, "Sec-Fetch-Site: cross-site\r\n".to_owned(), 403),
    ] {
        let request = format!(
            "GET /v1/policies HTTP/1.1\r\nHost: {host}\r\n{}{more}\r\n",
            bearer(TOKEN)
        );
        let answer = daemon.raw(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{host} {more}: {answer}"
        );
    }
    let without = format!("GET /v1/policies HTTP/1.0\r\n{}\r\n", bearer(TOKEN));
    let answer = daemon.raw(&without).await;
    assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
}

#[tokio::test]
async fn a_browser_shows_the_token_once_and_has_a_session() {
    let daemon = Daemon::start();
    let begun = daemon.ask("POST", SESSION, &bearer(TOKEN)).await;
    assert!(begun.starts_with("HTTP/1.1 204"), "{begun}");
    let cookie = begun
        .lines()
        .find_map(|l| l.strip_prefix("set-cookie: "))
        .unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN), "{cookie}");
    let cookie = format!("Cookie: a=b; {}\r\n", cookie.split(';').next().unwrap());
    let read = daemon.get("/v1/policies", &cookie).await;
    assert!(read.starts_with("HTTP/1.1 200"), "{read}");

    // What changes something has to come from our own page, which browsers say.
    let blind = daemon.ask("POST", FAILBACK, &cookie).await;
    assert!(
        blind.starts_with("HTTP/1.1 403") && blind.contains("`Origin`"),
        "{blind}"
    );
    let page = format!("{cookie}Origin: http://127.0.0.1:{}\r\n", daemon.tcp.port());
    let done = daemon.ask("POST", FAILBACK, &page).await;
    assert!(done.starts_with("HTTP/1.1 200"), "{done}");
    // No session is made of a session, and none of the socket.
    let again = daemon.ask("POST", SESSION, &page).await;
    assert!(again.starts_with("HTTP/1.1 409"), "{again}");
    let socket = daemon
        .raw_socket(&format!("POST {SESSION} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    assert!(socket.starts_with("HTTP/1.1 409"), "{socket}");

    let ended = daemon.ask("DELETE", SESSION, &page).await;
    assert!(
        ended.starts_with("HTTP/1.1 204") && ended.contains("Max-Age=0"),
        "{ended}"
    );
    let after = daemon.get("/v1/policies", &cookie).await;
    assert!(after.starts_with("HTTP/1.1 401"), "{after}");
    assert!(
        daemon
            .get("/v1/policies", &bearer(TOKEN))
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn other_tokens_end_what_the_old_ones_opened() {
    let daemon = Daemon::start();
    let begun = daemon.ask("POST", SESSION, &bearer(TOKEN)).await;
    let cookie = begun
        .lines()
        .find_map(|l| l.strip_prefix("set-cookie: "))
        .unwrap();
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let mut stream = daemon.follow(&cookie).await;
    // The same once more is no change.
    daemon.shared.set_access(access(&[TOKEN, READER]));
    daemon.publish("still there");
    let mut piece = [0; 4096];
    assert_ne!(stream.read(&mut piece).await.unwrap(), 0);

    daemon
        .shared
        .set_access(access(&["quite-another-token-it-is", READER]));
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest))
        .await
        .expect("the stream ends");
    for headers in [cookie, bearer(TOKEN)] {
        let answer = daemon.get("/v1/policies", &headers).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
    assert!(
        daemon
            .get("/v1/policies", &bearer(READER))
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn bodies_are_not_waited_for_by_tcp_either() {
    let daemon = Daemon::start();
    for (what, status) in [
        ("Content-Length: 2\r\n", 200),
        ("Content-Length: 2000000\r\n", 413),
        ("Transfer-Encoding: chunked\r\n", 413),
    ] {
        let answer = daemon
            .ask("POST", FAILBACK, &format!("{}{what}", bearer(TOKEN)))
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{what}: {answer}"
        );
    }
}

#[tokio::test]
async fn whoever_takes_all_connections_of_tcp_leaves_the_socket_as_it_is() {
    let daemon = Daemon::start();
    let mut open = Vec::new();
    for _ in 0..140 {
        open.push(TcpStream::connect(daemon.tcp).await.unwrap());
    }
    // All were accepted in the order in which they came.
    let last = open.last_mut().unwrap();
    let mut end = [0];
    let ended = timeout(LONG, last.read(&mut end))
        .await
        .expect("turned away");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let answer = daemon
        .raw_socket("GET /v1/policies HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(open);
    loop {
        // The server sees them go one by one.
        if daemon
            .get("/v1/policies", &bearer(TOKEN))
            .await
            .starts_with("HTTP/1.1 200")
        {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_in_drops_is_cut() {
    let daemon = Daemon::start();
    let mut slow = TcpStream::connect(daemon.tcp).await.unwrap();
    slow.write_all(b"GET /v1/policies HTTP/1.1\r\nX-Slow: ")
        .await
        .unwrap();
    let mut drops = 0;
    let mut answer = [0; 1024];
    loop {
        // Whether it is still open shows by whether there is an end to be read.
        match timeout(Duration::from_secs(1), slow.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) => drops += 1,
        }
        assert!(drops < 30, "still waiting");
        let _ = slow.write_all(b"x").await;
    }
    assert!(
        daemon
            .get("/v1/policies", &bearer(TOKEN))
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_who_does_not_read_is_cut_and_holds_nobody_up() {
    let daemon = Daemon::start();
    let mut stalled = daemon.follow(&bearer(TOKEN)).await;
    let mut reading = daemon.follow(&bearer(TOKEN)).await;
    let reader = tokio::spawn(async move {
        let mut bytes = vec![0; 1 << 20];
        let mut all = 0;
        while let Ok(Ok(count)) = timeout(LONG, reading.read(&mut bytes)).await {
            if count == 0 {
                return Err(all);
            }
            all += count;
            if bytes[count.saturating_sub(100)..count]
                .windows(4)
                .any(|w| w == b"last")
            {
                break;
            }
        }
        Ok(all)
    });
    // More than the kernel keeps for somebody who does not read.
    for _ in 0..256 {
        daemon.publish(&"x".repeat(64 << 10));
        sleep(Duration::from_millis(1)).await;
        // The loop answers all the while.
    }
    assert!(
        daemon
            .get("/v1/policies", &bearer(TOKEN))
            .await
            .starts_with("HTTP/1.1 200")
    );
    sleep(Duration::from_secs(20)).await;
    daemon.publish("last");
    let read = reader.await.unwrap();
    assert!(
        read.is_ok_and(|all| all > 15 << 20),
        "{read:?}: the other follower is cut too"
    );
    let mut rest = Vec::new();
    let ended = timeout(LONG, stalled.read_to_end(&mut rest))
        .await
        .expect("it is cut");
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert!(!String::from_utf8_lossy(&rest).contains("last"));
}

#[tokio::test]
async fn the_page_is_for_everybody_and_nothing_beside_it_is() {
    let daemon = Daemon::start();
    let page = daemon.get("/", "").await;
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for line in [
        "content-type: text/html",
        "content-security-policy: default-src 'none'; script-src 'self';",
        "frame-ancestors 'none'",
        "cache-control: no-cache",
        "x-content-type-options: nosniff",
        "vary: accept-encoding",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let style = page
        .split('"')
        .find(|word| word.ends_with("/style.css"))
        .unwrap();
    let style = format!("/{style}");
    let found = daemon.get(&style, "").await;
    assert!(
        found.starts_with("HTTP/1.1 200") && found.contains("immutable"),
        "{found}"
    );
    let head = daemon.ask("HEAD", &style, "").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    // What is not a file of it wants a token, however it is written, and nothing is sent to it.
    for (method, path) in [
        ("POST", "/"),
        ("DELETE", &style),
        ("GET", "/index.html"),
        ("GET", "/page"),
        ("GET", "/page/"),
        ("GET", "/page/0/style.css"),
        ("GET", "/page/../v1/policies"),
        ("GET", "/%2e"),
        ("GET", "//v1/policies"),
        ("GET", &format!("{style}/../../v1/policies")),
        ("GET", &style.replace("style", "styl%65")),
    ] {
        let answer = daemon.ask(method, path, "").await;
        assert!(
            answer.starts_with("HTTP/1.1 401"),
            "{method} {path}: {answer}"
        );
    }
    let missing = daemon.get("/page/0/style.css", &bearer(READER)).await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    // Nor is it for pages of other sites, or by another name.
    for host in ["evil.example", "localhost:1"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = daemon.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{host}: {answer}");
    }
    let framed = daemon.get("/", "Sec-Fetch-Site: cross-site\r\n").await;
    assert!(framed.starts_with("HTTP/1.1 403"), "{framed}");
}

#[tokio::test]
async fn the_page_is_sent_once_and_small() {
    let daemon = Daemon::start();
    let tag_of = |answer: &str| {
        let line = answer.lines().find_map(|l| l.strip_prefix("etag: "));
        line.unwrap().to_owned()
    };
    let plain = daemon.get("/", "").await;
    let packed = daemon.get("/", "Accept-Encoding: gzip, br\r\n").await;
    let length = |answer: &str| {
        let line = answer
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "));
        line.unwrap().parse::<usize>().unwrap()
    };
    assert!(length(&packed) < length(&plain) / 2);
    assert!(packed.contains("content-encoding: gzip"), "{packed}");
    assert_ne!(tag_of(&plain), tag_of(&packed), "one name for two contents");
    let know = |tag: &str| format!("If-None-Match: \"other\", W/{tag}\r\n");
    let same = daemon.get("/", &know(&tag_of(&plain))).await;
    assert!(
        same.starts_with("HTTP/1.1 304") && same.ends_with("\r\n\r\n"),
        "{same}"
    );
    let other = daemon.get("/", &know(&tag_of(&packed))).await;
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
}

const FAILBACK: &str = "/v1/groups/calls/failback";
const SESSION: &str = "/v1/session";

fn authorization(value: &str) -> String {
    format!("Authorization: {value}\r\n")
}

fn bearer(token: &str) -> String {
    authorization(&format!("Bearer {token}"))
}

/// Access by two tokens, the second for reading.
fn access(tokens: &[&str; 2]) -> Access {
    let mut text = String::new();
    let [change, read] = tokens;
    writeln!(text, "{change}\nread {read}").unwrap();
    Access {
        tokens: Tokens::parse(&text).unwrap(),
        ..Access::default()
    }
}

struct Daemon {
    tcp: SocketAddr,
    socket: PathBuf,
    shared: Shared,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = uplinkd_api::socket_path(directory.path());
        let (shared, queue) = Shared::new(1);
        shared.set_access(access(&[TOKEN, READER]));
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let tcp = listener.local_addr().unwrap();
        tokio::spawn(serve(
            bind(&socket).unwrap(),
            shared.clone(),
            std::future::pending(),
        ));
        tokio::spawn(serve_tcp(listener, shared.clone(), std::future::pending()));
        tokio::spawn(answer(queue));
        Self {
            tcp,
            socket,
            shared,
            _directory: directory,
        }
    }

    fn publish(&self, text: &str) {
        self.shared.publish(Event {
            id: 0,
            time: 0.0,
            level: Level::Info,
            kind: "test".to_owned(),
            text: text.to_owned(),
            detail: serde_json::Value::Null,
        });
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.ask("GET", path, headers).await
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> String {
        let host = self.tcp;
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
        ))
        .await
    }

    async fn raw(&self, request: &str) -> String {
        whole(TcpStream::connect(self.tcp).await.unwrap(), request).await
    }

    async fn raw_socket(&self, request: &str) -> String {
        whole(UnixStream::connect(&self.socket).await.unwrap(), request).await
    }

    /// A stream of events whose head has been read.
    async fn follow(&self, headers: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.tcp).await.unwrap();
        let request = format!(
            "GET /v1/events/stream HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            self.tcp
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(
            head.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        stream
    }
}

async fn whole(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, request: &str) -> String {
    // One that was turned away may be gone already.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "what else there is to ask is no matter of doors"
)]
async fn answer(mut queue: mpsc::Receiver<Request>) {
    while let Some(request) = queue.recv().await {
        match request {
            Request::Policies(answer) => answer.send(Policies::default()).unwrap(),
            Request::Failback(group, _, answer) => {
                let text = "done".to_owned();
                answer.send(Ok(Failback { group, text })).unwrap();
            }
            Request::Support(answer) => answer.send(Support::default()).unwrap(),
            other => panic!("nobody asks {other:?} here"),
        }
    }
}
