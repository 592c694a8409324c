//! Webhooks.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use uplinkd_lab::{Fault, Isp};
use uplinkd_netns_tests::{isp, within};

use crate::common::{LONG, Server, body, rig, says, secret, start, wait_text};

pub(crate) fn news_of_an_outage_leave_when_a_line_is_back() -> Result<()> {
    let (mut rig, _) = rig(|_, _| {
        Ok("[notify]\ntogether = \"100ms\"\n\
            [notify.webhook.far]\nurl = \"http://198.18.0.9:8090/news\"\n"
            .to_owned())
    })?;
    let server = Server::start(&rig, 8090)?;
    start(&mut rig)?;
    let lab = rig.shared_lab();
    let first = Fault::Upstream.apply(&lab, isp(1))?;
    let second = Fault::Upstream.apply(&lab, isp(2))?;
    rig.wait_for("no line is up", LONG, |s| {
        s.state == uplinkd_api::State::Down
    })?;
    rig.wait_for("it could not be told", LONG, |s| {
        s.notify[0].waiting > 0 && s.notify[0].failed > 0
    })?;
    let before: Vec<_> = server.heard();
    second.heal()?;
    let down = |request: &String| -> Result<Vec<Value>> {
        let body = body(request)?;
        let events = body["events"].as_array().cloned().unwrap_or_default();
        let is_down = |e: &Value| e["kind"] == "health" && e["detail"]["to"] == "down";
        Ok(events.into_iter().filter(is_down).collect())
    };
    let mut told = Vec::new();
    within("all is told by the line that is back", LONG, || {
        told.clear();
        for (from, request) in server.heard().iter().skip(before.len()) {
            ensure!(Isp::of(*from) == Some(isp(2)), "told by {from}");
            told.extend(down(request)?);
        }
        let lines = ["isp1", "isp2"];
        Ok(lines
            .iter()
            .all(|l| told.iter().any(|e| e["detail"]["uplink"] == *l)))
    })?;
    // With the time at which it happened, as the log has it.
    let log = rig.events()?.events;
    for event in &told {
        let own = log.iter().find(|e| Some(e.id) == event["id"].as_u64());
        let own = own.with_context(|| event.to_string())?;
        ensure!(event["time"].as_f64() == Some(own.time), "{event}");
    }
    first.heal()?;
    rig.wait_for("nothing waits", LONG, |s| s.notify[0].waiting == 0)?;
    let channel = rig.status()?.notify.remove(0);
    ensure!(channel.dropped == 0 && channel.sent > 0, "{channel:?}");
    let metrics = rig.in_router(|| metrics(&rig))?;
    let line = format!(
        "uplinkd_notify_messages_total{{channel=\"far\",result=\"sent\"}} {}",
        channel.sent
    );
    ensure!(metrics.contains(&line), "{line}\n{metrics}");
    Ok(())
}

fn metrics(rig: &uplinkd_netns_tests::Rig) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let socket = uplinkd_api::socket_path(&rig.places().runtime());
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: uplinkd\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub(crate) fn what_is_secret_is_shown_nowhere() -> Result<()> {
    const WORDS: [&str; 3] = ["hidden-token", "hidden-place", "hidden-bot"];
    let (mut rig, _) = rig(|rig, _| {
        let token = secret(rig, "token", "hidden-token\n")?;
        let place = secret(rig, "place", "http://198.18.0.9:8090/hidden-place/x\n")?;
        let bot = secret(rig, "bot", "hidden-bot\n")?;
        Ok(format!(
            "[notify]\ntogether = \"0s\"\nevents = [\"all\"]\n\
             [notify.webhook.plain]\nurl_file = {place:?}\ntoken_file = {token:?}\n\
             [notify.webhook.bot]\ntemplate = \"telegram\"\nurl = \"http://198.18.0.9:8090/\"\nto = \"7\"\ntoken_file = {bot:?}\n"
        ))
    })?;
    let server = Server::start(&rig, 8090)?;
    server.say("401 No\necho");
    start(&mut rig)?;
    wait_text(
        "the token is shown to the server",
        "authorization: Bearer hidden-token",
        || server.texts(),
    )?;
    wait_text("the bot's too", "POST /bothidden-bot/sendMessage", || {
        server.texts()
    })?;
    ensure!(
        server.texts().contains("POST /hidden-place/x "),
        "{}",
        server.texts()
    );
    let mut shown = says(&rig, "notify-test", 1)?;
    ensure!(
        shown.contains("198.18.0.9:8090: HTTP status 401: POST /… HTTP/1.1"),
        "{shown}"
    );
    shown += &says(&rig, "status --json", 0)?;
    shown += &says(&rig, "status", 0)?;
    shown += &says(&rig, "events --json", 0)?;
    shown += &rig.in_router(|| metrics(&rig))?;
    shown += &says(&rig, "report --bug --output -", 0)?;
    let checked = rig.tool("uplinkd", &["check"])?;
    shown += &format!("{}{}", checked.stdout, checked.stderr);
    // At its most talkative.
    shown += &rig.daemon_log();
    for word in WORDS {
        ensure!(!shown.contains(word), "{word} is shown:\n{shown}");
    }
    server.say("200 OK");
    let said = says(&rig, "notify-test --channel plain", 0)?;
    ensure!(said.contains("plain  told in"), "{said}");
    // One that others could have read is of no use any more.
    let token = rig.lab().folder().join("token");
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let said = says(&rig, "notify-test --channel plain", 1)?;
    ensure!(
        said.contains("others may read or write it (mode 0644)"),
        "{said}"
    );
    Ok(())
}

pub(crate) fn only_who_has_shown_a_good_certificate_is_told() -> Result<()> {
    let (mut rig, _) = rig(|rig, _| {
        let folder = rig.lab().folder();
        let authority = folder.join("authority.pem");
        fs::write(
            &authority,
            include_bytes!("../probes/certificates/authority.pem"),
        )?;
        fs::write(
            folder.join("hosts"),
            "198.18.0.9 good.example wrong.example\n",
        )?;
        let tell = |name: &str, host: &str, more: &str| {
            format!("[notify.webhook.{name}]\nurl = \"https://{host}:8443/x\"\n{more}\n")
        };
        let ca = format!("ca = {authority:?}");
        Ok([
            tell("good", "good.example", &ca),
            tell("address", "198.18.0.9", &ca),
            tell("other", "wrong.example", &ca),
            tell("stranger", "good.example", ""),
        ]
        .concat())
    })?;
    let server = Server::start_secure(&rig, 8443)?;
    // Names are those of the system's resolver, for the daemon alone.
    let hosts = rig.lab().folder().join("hosts");
    let mount = format!("mount --bind {} /etc/hosts", hosts.display());
    rig.start_daemon_by_shell(&format!("{mount} && exec uplinkd run"))?;
    rig.wait_settled()?;
    let said = says(&rig, "notify-test", 1)?;
    for words in [
        "good      told in ",
        "address   not told: 198.18.0.9:8443: the certificate is not for 198.18.0.9",
        "other     not told: wrong.example:8443: the certificate is not for wrong.example",
        "stranger  not told: good.example:8443: ",
    ] {
        ensure!(said.contains(words), "{words:?} is not in\n{said}");
    }
    let heard = server.texts();
    ensure!(heard.matches("POST /x HTTP/1.1").count() == 1, "{heard}");
    ensure!(heard.contains("host: good.example:8443"), "{heard}");
    Ok(())
}
