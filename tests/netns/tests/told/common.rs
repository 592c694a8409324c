//! What these tests say again and again.

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use uplinkd_lab::{LabSpec, process::Output};
use uplinkd_netns_tests::{
    Rig, config,
    serving::{Serving, tls},
    within,
};

/// Long enough for a message that failed at first.
pub(crate) const LONG: Duration = Duration::from_secs(30);
/// Where a test's programs are, and where they leave word.
pub(crate) struct Folder {
    /// Only we may write here.
    pub(crate) hooks: PathBuf,
    /// Everybody may write here.
    pub(crate) out: PathBuf,
}

impl Folder {
    pub(crate) fn of(rig: &Rig) -> Result<Self> {
        let folder = rig.lab().folder();
        // Hooks may run as somebody who has no rights here.
        fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        let (hooks, out) = (folder.join("hooks"), folder.join("out"));
        for (path, mode) in [(&hooks, 0o755), (&out, 0o777)] {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(Self { hooks, out })
    }

    /// Puts a program of shell there, whose `$out` is where it may leave word.
    pub(crate) fn put(&self, name: &str, mode: u32, script: &str) -> Result<PathBuf> {
        let path = self.hooks.join(name);
        let out = self.out.display();
        fs::write(&path, format!("#!/bin/sh\nout={out}\n{script}\n"))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        Ok(path)
    }

    /// What was left there; empty where nothing was.
    pub(crate) fn left(&self, name: &str) -> String {
        fs::read_to_string(self.out.join(name)).unwrap_or_default()
    }

    /// The lines of JSON that were left there.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let text = self.left(name);
        let whole = text.lines().filter_map(|l| serde_json::from_str(l).ok());
        whole.collect()
    }
}

/// A file that nobody else may read.
pub(crate) fn secret(rig: &Rig, name: &str, text: &str) -> Result<PathBuf> {
    let path = rig.lab().folder().join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(path)
}

/// A laboratory with a file that tells, and no daemon yet. `notify` makes the end of the file.
pub(crate) fn rig(notify: impl FnOnce(&Rig, &Folder) -> Result<String>) -> Result<(Rig, Folder)> {
    let rig = Rig::without_daemon(LabSpec::default(), &config(&[1, 1]))?;
    let folder = Folder::of(&rig)?;
    let text = notify(&rig, &folder)?;
    rig.places().write_config(&file(&text))?;
    Ok((rig, folder))
}

pub(crate) fn file(notify: &str) -> String {
    format!("{}{notify}\n", config(&[1, 1]))
}

/// The daemon runs and has settled.
pub(crate) fn start(rig: &mut Rig) -> Result<()> {
    rig.start_daemon()?;
    rig.wait_settled()?;
    Ok(())
}

/// Runs `uplinkctl`; it must end with this exit code. Returns what it said.
pub(crate) fn says(rig: &Rig, words: &str, code: i32) -> Result<String> {
    let words: Vec<_> = words.split(' ').collect();
    let output: Output = rig.tool("uplinkctl", &words)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "`uplinkctl {words:?}` ended with {} instead of {code}:\n{said}",
        output.status
    );
    Ok(said)
}

/// Waits until a text that is looked at again and again has something in it.
pub(crate) fn wait_text(what: &str, words: &str, mut look: impl FnMut() -> String) -> Result<()> {
    let mut seen = String::new();
    let found = within(what, LONG, || {
        seen = look();
        Ok(seen.contains(words))
    });
    found.with_context(|| format!("`{words}` is not in:\n{seen}"))
}

/// Whether a process runs; one that only waits for somebody to hear of its end does not.
pub(crate) fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat"));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

/// What a server was told: from where, and the whole request.
pub(crate) type Heard = (IpAddr, String);

/// A server in the internet that hears what it is told and gives an answer. It ends when this is dropped.
pub(crate) struct Server {
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<Mutex<String>>,
    _serving: Serving,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn start(rig: &Rig, port: u16) -> Result<Self> {
        Self::start_as(rig, port, None)
    }

    /// Over TLS, as `good.example`.
    pub(crate) fn start_secure(rig: &Rig, port: u16) -> Result<Self> {
        Self::start_as(rig, port, Some(tls("good.example")?))
    }

    fn start_as(rig: &Rig, port: u16, secure: Option<Arc<ServerConfig>>) -> Result<Self> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(Mutex::new("204 No Content".to_owned()));
        let (hears, says) = (Arc::clone(&heard), Arc::clone(&answer));
        let serving = Serving::tcp(rig.lab(), port, move |stream, from| {
            let answer = locked(&says).clone();
            let request = match &secure {
                None => talk(stream, &answer),
                Some(config) => {
                    let session = ServerConnection::new(Arc::clone(config))?;
                    talk(StreamOwned::new(session, stream), &answer)
                }
            };
            locked(&hears).push((from.ip().to_canonical(), request?));
            Ok(())
        })?;
        Ok(Self {
            heard,
            answer,
            _serving: serving,
        })
    }

    /// Answers like that from now on: the status with its word, and on the next line what it says: `echo` for
    /// the head of the request.
    pub(crate) fn say(&self, status: &str) {
        *locked(&self.answer) = status.to_owned();
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        locked(&self.heard).clone()
    }

    pub(crate) fn texts(&self) -> String {
        let heard = self.heard().into_iter().map(|(_, request)| request);
        heard.collect::<Vec<_>>().join("\n")
    }
}

/// Hears a whole request, and answers it.
fn talk(mut stream: impl Read + Write, status: &str) -> Result<String> {
    let mut request = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines().map(str::to_ascii_lowercase);
            let mut length = lines.filter_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.next_back().context("no length")?;
            if body.len() >= length {
                let (status, said) = status.split_once('\n').unwrap_or((status, ""));
                let said = if said == "echo" { head } else { said };
                let length = said.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
                write!(stream, "{head}{said}")?;
                stream.flush()?;
                return Ok(text);
            }
        }
        let length = stream.read(&mut part)?;
        ensure!(length > 0, "the request ended");
        request.extend_from_slice(&part[..length]);
    }
}

/// The body of a request, as JSON.
pub(crate) fn body(request: &str) -> Result<Value> {
    let (_, body) = request.split_once("\r\n\r\n").context("no body")?;
    serde_json::from_str(body).with_context(|| request.to_owned())
}
