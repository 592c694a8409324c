//! A router with the page, a browser in front of it, and the hands behind.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File, Permissions},
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

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use uplinkd_lab::{
    Broken, Fault, Lab, LabSpec, Output, RouterDaemon, find_program,
    programs::{Missing, find},
    stretched,
    traffic::{Load, Transport},
};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, isp, servers, within};

/// A token that may change things, and one that may not.
const TOKEN: &str = "the+token/of=whoever-keeps-this-router==";
pub(crate) const READER: &str = "the-token-of-whoever-looks-after-it";
pub(crate) const PORT: u16 = 8177;
/// How long a visit may take.
const VISIT_MAX: Duration = Duration::from_secs(120);
/// How long the demonstration may take until it asks, and a visit after that.
const DEMO_MAX: Duration = Duration::from_secs(90);
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
    let config = with_tcp(config);
    let rig = rig(uplinks, &config)?;
    let load = Load::new(Transport::Udp, RATE, VISIT_MAX, servers(rig.lab()));
    // Some of it is what the policy takes.
    let calls = Load {
        port: 5060,
        ..load.clone()
    };
    let client = rig.lab().client();
    let running = [load.start(client)?, calls.start(client)?];
    let result = visit_page(&rig, &tools, visit, &config);
    for load in running {
        load.stop()?;
    }
    result
}

/// A file that opens TCP as well.
pub(crate) fn with_tcp(config: &str) -> String {
    format!("{config}[api]\nlisten = \"127.0.0.1:{PORT}\"\ntoken_file = \"tokens\"\n")
}

/// A router with that file and our tokens, settled.
pub(crate) fn rig(uplinks: usize, config: &str) -> Result<Rig> {
    let spec = LabSpec {
        uplinks,
        ..LabSpec::default()
    };
    let mut rig = Rig::without_daemon(spec, config)?;
    write_tokens(&rig, &[TOKEN, &format!("read {READER}")])?;
    rig.start_daemon()?;
    rig.wait_settled()?;
    Ok(rig)
}

fn write_tokens(rig: &Rig, tokens: &[&str]) -> Result<()> {
    let file = rig.places().config().with_file_name("tokens");
    fs::write(&file, tokens.join("\n"))?;
    Ok(fs::set_permissions(&file, Permissions::from_mode(0o600))?)
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
    let mut command = tools.browse(folder, visit, &format!("http://127.0.0.1:{PORT}/"));
    command.env("PAGE_HANDS", &path);
    let output = thread::scope(|scope| {
        scope.spawn(|| Hands::new(rig, config).obey(&listener));
        let output = rig.lab().router().output(command, "", VISIT_MAX);
        // The hands wait for somebody to come, and for what they say.
        drop(UnixStream::connect(&path));
        output
    })?;
    told(&output).with_context(|| rig.daemon().map(RouterDaemon::log_tail).unwrap_or_default())
}

/// Plays a visit to the page of the demonstration, while that waits for orders.
pub(crate) fn play_demo() -> Result<()> {
    let tools = Tools::find()?;
    let demo = find_program("uplink-lab")?;
    // Any place with a loopback.
    let lab = Lab::build(LabSpec::default())?;
    let said = lab.folder().join("said");
    // It goes on as long as somebody may say something.
    let line = format!("sleep {} | {} demo", DEMO_MAX.as_secs(), demo.display());
    let mut command = corner("sh");
    command
        .args(["-c", &line])
        .stdout(File::create(&said)?)
        .stderr(File::create(lab.folder().join("complained"))?);
    let _demo = lab.router().spawn(command)?;
    let read = || fs::read_to_string(&said).map_err(Into::into);
    within("the demonstration is ready", DEMO_MAX, || {
        read().map(|text: String| text.contains("your turn"))
    })?;
    let text: String = read()?;
    let link = text.split_whitespace().find(|w| w.starts_with("http://"));
    let link = link.context("it tells where the page is")?;
    let command = tools.browse(lab.folder(), "demo", link);
    told(&lab.router().output(command, "", VISIT_MAX)?)
}

/// A program with which all that it starts ends: the first process of a namespace of process ids.
fn corner(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private"])
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(program);
    command
}

/// Figures, for whoever reads along; or what went wrong.
fn told(output: &Output) -> Result<()> {
    let (out, err) = (&output.stdout, &output.stderr);
    ensure!(output.status.success(), "{out}{err}");
    let _ = stdout().write_all(out.as_bytes());
    Ok(())
}

impl Tools {
    /// A browser that plays a visit.
    fn browse(&self, folder: &Path, visit: &str, url: &str) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/browser.mjs");
        let mut command = corner(&self.node);
        command
            .arg(script)
            .arg(visit)
            .current_dir(folder)
            .env("HOME", folder)
            .env("PAGE_MODULES", &self.modules)
            .env("PAGE_BROWSER", &self.browser)
            .env("PAGE_URL", url)
            .env("PAGE_TOKEN", TOKEN)
            .env("PAGE_READER", READER)
            .env(
                "PAGE_PATIENCE_MS",
                stretched(EVENTUALLY).as_millis().to_string(),
            );
        command
    }
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
            ["tokens"] => {
                write_tokens(self.rig, &[TOKEN])?;
                self.rig.daemon()?.process().signal(Signal::SIGHUP)?;
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
