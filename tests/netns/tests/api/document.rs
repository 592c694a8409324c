//! Whether the daemon does what its OpenAPI document says: schemathesis asks it all that the document
//! allows and much that it does not.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Result, ensure};
use uplinkd_lab::programs::{Missing, find};

use crate::request::{LISTEN, TOKEN, config_with_tcp, rig_with_tokens};

/// Refusals that a request may meet that is written as it has to be: what it names may not be there, and what it
/// says may not go together. And names that are there, so that not all is refused.
const SETTINGS: &str = r#"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409", "422"]

[checks.negative_data_rejection]
expected-statuses = ["400", "403", "404", "405", "409", "413", "422", "431"]

[[operations]]
include-path = "/v1/groups/{name}/failback"
parameters = { "path.name" = "calls" }

[[operations]]
include-path = "/v1/uplinks/{name}/budget/{used}"
parameters = { "path.name" = "isp2" }
"#;

/// Requests to each path beside those that its bounds and examples give.
const EXAMPLES_MAX: &str = "40";

pub(crate) fn the_daemon_does_what_its_document_says() -> Result<()> {
    let program = schemathesis()?;
    let mut rig = rig_with_tokens(&config_with_tcp())?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let settings = rig.places().state().join("schemathesis.toml");
    fs::write(&settings, SETTINGS)?;
    let mut command = Command::new(program);
    command
        .current_dir(rig.places().state())
        .arg("--config-file")
        .arg(&settings)
        .arg("run")
        .arg(format!("http://{LISTEN}/v1/openapi.json"))
        .args(["--header", &format!("Authorization: Bearer {TOKEN}")])
        // A stream never ends.
        .args(["--exclude-path", "/v1/events/stream"])
        .args([
            "--max-examples",
            EXAMPLES_MAX,
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--seed", "1", "--generation-database", "none", "--no-color"]);
    let router = rig.lab().router();
    let output = router.output(command, "", Duration::from_secs(300))?;
    ensure!(
        output.status.success(),
        "{}\n{}",
        output.stdout,
        output.stderr
    );
    // It still routes, and answers at once.
    rig.wait_settled()?;
    Ok(())
}

/// Where `cargo xtask test` puts it, or wherever the machine has it.
fn schemathesis() -> Result<PathBuf, Missing> {
    let own = env::current_exe().unwrap_or_default();
    let near = own
        .ancestors()
        .map(|folder| folder.join("python/bin/schemathesis"));
    near.filter(|place| place.is_file())
        .chain(find("schemathesis"))
        .next()
        .ok_or_else(|| Missing {
            program: "schemathesis".to_owned(),
            why: "it is not installed; `cargo xtask test` does that".to_owned(),
        })
}
