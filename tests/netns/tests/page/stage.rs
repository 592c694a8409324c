//! A router with the page, a browser in front of it, and the hands behind.

use std::{
    env,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _, stdout},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use uplinkd_lab::{
    Broken, Fault, LabSpec,
    programs::{Missing, find},
    stretched,
    traffic::{Load, Transport},
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, servers};

/// A token that may change things, and one that may not.
const TOKEN: &str = "the-token-of-whoever-keeps-this-router";
const READER: &str = "the-token-of-whoever-looks-after-it";
const PORT: u16 = 8177;
/// How long a visit may take.
const VISIT_MAX: Duration = Duration::from_secs(60);
/// Connections that the LAN makes meanwhile, each second.
const RATE: u32 = 20;

/// Plays a visit on a router with two uplinks.
pub(crate) fn play(visit: &str) -> Result<()> {
    let policies = "[group.calls]\ntiers = [[\"isp2\"], [\"isp1\"]]\n\
                    [[policy]]\nname = \"voip\"\nmatch = { protocol = \"udp\", dport = \"5060-5061\" }\n\
                    use = \"calls\"\n";
    play_with(visit, 2, &(config(&[3, 2]) + policies))
}

/// Plays a visit on a router with other uplinks.
pub(crate) fn play_with(visit: &str, uplinks: usize, config: &str) -> Result<()> {
    let tools = Tools::find()?;
    let api = format!("[api]\nlisten = \"127.0.0.1:{PORT}\"\ntoken_file = \"tokens\"\n");
    let config = format!("{config}{api}");
    let spec = LabSpec {
        uplinks,
        ..LabSpec::default()
    };
    let mut rig = Rig::without_daemon(spec, &config)?;
    let tokens = rig.places().config().with_file_name("tokens");
    fs::write(&tokens, format!("{TOKEN}\nread {READER}\n"))?;
    fs::set_permissions(&tokens, Permissions::from_mode(0o600))?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    let load = Load::new(Transport::Udp, RATE, VISIT_MAX, servers(rig.lab()));
    let load = load.start(rig.lab().client())?;
    let result = visit_page(&rig, &tools, visit, &config);
    load.stop()?;
    result
}

/// What the browser is and is driven by.
struct Tools {
    node: PathBuf,
    browser: PathBuf,
    modules: PathBuf,
}

impl Tools {
    fn find() -> Result<Self, Missing> {
        let own = env::current_exe().unwrap_or_default();
        let mut near = own
            .ancestors()
            .map(|folder| folder.join("node/node_modules"));
        let modules = near.find(|place| place.is_dir()).ok_or_else(|| Missing {
            program: "playwright-core".to_owned(),
            why: "it is not installed; `cargo xtask test` does that".to_owned(),
        })?;
        Ok(Self {
            node: find("node")?,
            browser: find("chromium")?,
            modules,
        })
    }
}

/// Has the browser play a visit, and does meanwhile what it tells us.
fn visit_page(rig: &Rig, tools: &Tools, visit: &str, config: &str) -> Result<()> {
    let folder = rig.lab().folder();
    let path = folder.join("hands.sock");
    let listener = UnixListener::bind(&path)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/browser.mjs");
    // Whatever the browser starts ends with the first process of a namespace of process ids.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(&tools.node)
        .arg(script)
        .arg(visit)
        .current_dir(folder)
        .env("HOME", folder)
        .env("PAGE_HANDS", &path)
        .env("PAGE_MODULES", &tools.modules)
        .env("PAGE_BROWSER", &tools.browser)
        .env("PAGE_URL", format!("http://127.0.0.1:{PORT}/"))
        .env("PAGE_TOKEN", TOKEN)
        .env("PAGE_READER", READER)
        .env(
            "PAGE_PATIENCE_MS",
            stretched(EVENTUALLY).as_millis().to_string(),
        );
    let output = thread::scope(|scope| {
        scope.spawn(|| Hands::new(rig, config).obey(&listener));
        let output = rig.lab().router().output(command, "", VISIT_MAX);
        // The hands wait for somebody to come, and for what they say.
        if let Ok(stream) = UnixStream::connect(&path) {
            drop(stream);
        }
        output
    })?;
    ensure!(
        output.status.success(),
        "{}{}\n{}",
        output.stdout,
        output.stderr,
        rig.daemon()?.log_tail()
    );
    // Figures, for whoever reads along.
    let _ = stdout().write_all(output.stdout.as_bytes());
    Ok(())
}

/// What is done to the network and to the file.
struct Hands<'r> {
    rig: &'r Rig,
    config: &'r str,
    broken: Vec<Broken<'r>>,
}

impl<'r> Hands<'r> {
    fn new(rig: &'r Rig, config: &'r str) -> Self {
        Self {
            rig,
            config,
            broken: Vec::new(),
        }
    }

    /// Takes orders from one who comes, a line each, until that one has gone.
    fn obey(mut self, listener: &UnixListener) {
        let Ok((stream, _)) = listener.accept() else {
            return;
        };
        let Ok(mut answers) = stream.try_clone() else {
            return;
        };
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let answer = match self.carry_out(&line) {
                Ok(()) => "ok".to_owned(),
                Err(error) => format!("no: {error:#}").replace('\n', " "),
            };
            if writeln!(answers, "{answer}").is_err() {
                return;
            }
        }
    }

    fn carry_out(&mut self, order: &str) -> Result<()> {
        let words: Vec<_> = order.split(' ').collect();
        match words.as_slice() {
            ["break", number, fault] => {
                let fault: Fault = fault.parse().map_err(anyhow::Error::msg)?;
                let line = isp(number.parse()?);
                self.broken.push(fault.apply(self.rig.lab(), line)?);
            }
            ["heal"] => {
                for broken in self.broken.drain(..).rev() {
                    broken.heal()?;
                }
            }
            ["weight", weight] => {
                let text = self
                    .config
                    .replacen("weight = 3", &format!("weight = {weight}"), 1);
                self.rig.places().write_config(&text)?;
            }
            ["mistake"] => self
                .rig
                .places()
                .write_config("[uplink.isp1]\nweihgt = 3\n")?,
            _ => bail!("what is `{order}`?"),
        }
        Ok(())
    }
}
