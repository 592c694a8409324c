//! `uplinkctl notify-test`, and a file that is read again.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::common::{Server, file, rig, says, start, wait_text};

pub(crate) fn a_test_shows_what_came_of_each() -> Result<()> {
    let (mut rig, _) = rig(|_, _| Ok(String::new()))?;
    start(&mut rig)?;
    let said = says(&rig, "notify-test", 1)?;
    ensure!(said.contains("nobody is to be told"), "{said}");
    rig.reload(&file(
        "[notify.webhook.here]\nurl = \"http://198.18.0.9:8090/x\"\n\
         [notify.webhook.nowhere]\nurl = \"http://198.18.0.9:8091/x\"\n",
    ))?;
    let server = Server::start(&rig, 8090)?;
    let said = says(&rig, "notify-test --why drill --json", 1)?;
    let tested: Value = serde_json::from_str(&said)?;
    ensure!(tested["told"] == false, "{tested}");
    let results = tested["results"].as_array().cloned().unwrap_or_default();
    ensure!(results.len() == 2, "{tested}");
    ensure!(
        results[0]["channel"] == "here" && results[0]["problem"].is_null(),
        "{tested}"
    );
    let problem = results[1]["problem"].as_str().unwrap_or_default();
    ensure!(problem.ends_with("connection refused"), "{tested}");
    let heard = server.texts();
    ensure!(
        heard.contains("\"kind\":\"test\"") && heard.contains(": drill"),
        "{heard}"
    );
    says(&rig, "notify-test --channel here", 0)?;
    let said = says(&rig, "notify-test --channel hree", 2)?;
    ensure!(said.contains("there are: here, nowhere"), "{said}");
    Ok(())
}

pub(crate) fn another_file_tells_others() -> Result<()> {
    let tell = |name: &str, port: u16| {
        format!(
            "[notify]\ntogether = \"0s\"\nevents = [\"order\"]\n\
             [notify.webhook.{name}]\nurl = \"http://198.18.0.9:{port}/x\"\n"
        )
    };
    let (mut rig, _) = rig(|_, _| Ok(tell("a", 8090)))?;
    let (one, other) = (Server::start(&rig, 8090)?, Server::start(&rig, 8091)?);
    start(&mut rig)?;
    says(&rig, "drain isp1", 0)?;
    wait_text("the first is told", "uplink isp1 is drained", || {
        one.texts()
    })?;
    rig.reload(&file(&tell("b", 8091)))?;
    says(&rig, "undrain isp1", 0)?;
    wait_text(
        "the second is told",
        "uplink isp1 is no longer drained",
        || other.texts(),
    )?;
    ensure!(!one.texts().contains("no longer"), "{}", one.texts());
    ensure!(!other.texts().contains("is drained"), "{}", other.texts());
    // The same channel at another place.
    rig.reload(&file(&tell("b", 8090)))?;
    says(&rig, "drain isp2", 0)?;
    wait_text("it has moved", "uplink isp2 is drained", || one.texts())?;
    rig.reload(&file(""))?;
    ensure!(rig.status()?.notify.is_empty(), "there are channels");
    says(&rig, "undrain isp2", 0)?;
    rig.stop_daemon()
}
