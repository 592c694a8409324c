//! `uplinkctl top` in a terminal that is none but behaves like one.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZeroU16,
    os::fd::AsRawFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    libc,
    pty::{OpenptyResult, Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::Pid,
};
use uplinkd_lab::{Fault, find_program, stretched};
use uplinkd_netns_tests::{EVENTUALLY, Rig, config, find_uplink, isp, within};

pub(crate) fn it_shows_what_happens_and_keys_are_obeyed() -> Result<()> {
    let mut rig = Rig::start(&config(&[1, 1]))?;
    let mut top = Terminal::start(&rig, 80, 24)?;
    top.wait("all is well", |s| {
        s.contains("The internet is up, for") && row(s, "isp1 IPv4", "up") && row(s, "isp2", "up")
    })?;

    let broken = Fault::Upstream.apply(rig.lab(), isp(1))?;
    top.wait("a provider is cut", |s| {
        s.contains("but not fully") && row(s, "isp1 IPv4", "down") && row(s, "isp2 IPv4", "up")
    })?;
    top.wait("it is told as an event", |s| {
        s.contains("went from up to down")
    })?;
    broken.heal()?;
    top.wait("it is back", |s| row(s, "isp1 IPv4", "up"))?;

    let is_drained = |rig: &Rig| -> Result<bool> {
        Ok(find_uplink(&rig.status()?, isp(1)).is_some_and(|u| u.drained.is_some()))
    };
    top.press("d")?;
    top.wait("a question", |s| s.contains("Drain isp1?"))?;
    top.press("n")?;
    top.wait("a no", |s| s.contains("nothing was done"))?;
    ensure!(!is_drained(&rig)?, "a no is no");
    top.press("dy")?;
    within("drained", EVENTUALLY, || is_drained(&rig))?;
    top.wait("it shows", |s| row(s, "isp1 IPv4", "drained"))?;
    top.press("uy")?;
    within("undrained", EVENTUALLY, || Ok(!is_drained(&rig)?))?;
    top.wait("that shows too", |s| row(s, "isp1 IPv4", "up"))?;
    top.press("p")?;
    top.wait("a probe", |s| s.contains("isp1: IPv4 works: "))?;
    let who = rig
        .events()?
        .events
        .into_iter()
        .find(|e| e.kind == "drained");
    let who = who.map(|e| e.text).unwrap_or_default();
    ensure!(who.contains("uplinkctl top"), "{who}");

    rig.kill_daemon()?;
    top.wait("nobody answers", |s| s.contains("uplinkd does not answer"))?;
    rig.start_daemon()?;
    top.wait("it is back by itself", |s| {
        s.contains("The internet is up, for") && row(s, "isp1 IPv4", "up")
    })?;

    top.resize(50, 15)?;
    top.wait("a smaller one", |s| {
        row(s, "isp1 IPv4", "up") && s.contains("OUT b/s") && !s.contains("FLOWS")
    })?;
    top.press("q")?;
    let status = top.ended()?;
    ensure!(status.success(), "{status}");
    top.ensure_given_back()
}

pub(crate) fn the_terminal_is_given_back_however_it_ends() -> Result<()> {
    let rig = Rig::start(&config(&[1, 1]))?;
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut top = Terminal::start(&rig, 80, 24)?;
        top.wait("it runs", |s| s.contains("The internet is up, for"))?;
        ensure!(!top.is_given_back()?, "it has a screen of its own");
        kill(top.pid(), signal)?;
        top.ended()?;
        top.ensure_given_back().with_context(|| signal.as_str())?;
    }
    // Ctrl-C is a key there.
    let mut top = Terminal::start(&rig, 80, 24)?;
    top.wait("it runs", |s| s.contains("The internet is up, for"))?;
    top.press("\x03")?;
    top.ended()?;
    top.ensure_given_back()
}

/// Whether the row of an uplink says this of its health.
fn row(screen: &str, uplink: &str, health: &str) -> bool {
    screen.lines().any(|line| {
        let Some((_, after)) = line.split_once(uplink) else {
            return false;
        };
        let is_row = line.starts_with("> ") || line.starts_with("  ");
        is_row && after.split_whitespace().any(|word| word == health)
    })
}

/// A terminal, and the program that has it.
struct Terminal {
    child: Child,
    keys: File,
    pty: OpenptyResult,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn start(rig: &Rig, columns: u16, rows: u16) -> Result<Self> {
        let size = window(columns, rows);
        let pty = openpty(&size, None).context("no pseudo terminal")?;
        let slave = || pty.slave.try_clone();
        let uplinkctl = find_program("uplinkctl")?;
        // A session of its own, so that the terminal of whoever runs the tests is left alone.
        let mut command = rig.places().command(std::path::Path::new("setsid"));
        command.arg("--ctty").arg(uplinkctl).arg("top");
        command.env("TERM", "xterm-256color");
        let child = spawn(command.stdin(slave()?).stdout(slave()?).stderr(slave()?))?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(columns), 0)));
        let mut output = File::from(pty.master.try_clone()?);
        let keys = File::from(pty.master.try_clone()?);
        let shown = screen.clone();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                lock(&shown).process(&bytes[..length]);
            }
        });
        Ok(Self {
            child,
            keys,
            pty,
            screen,
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    fn shown(&self) -> String {
        lock(&self.screen).screen().contents()
    }

    fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + stretched(EVENTUALLY);
        loop {
            let shown = self.shown();
            if holds(&shown) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{what}: not to be seen in\n{shown}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[expect(unsafe_code, reason = "nix has no call that sets a terminal's size")]
    fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        lock(&self.screen)
            .screen_mut()
            .set_size(some(rows), some(columns));
        let size = window(columns, rows);
        // SAFETY: the descriptor is open, and the kernel only reads the structure.
        let done = unsafe { libc::ioctl(self.pty.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
        nix::errno::Errno::result(done).context("cannot resize")?;
        Ok(())
    }

    fn ended(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + stretched(EVENTUALLY);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "does not end:\n{}", self.shown());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lines are read whole and shown as they are typed, the usual screen is back, and the cursor.
    fn is_given_back(&self) -> Result<bool> {
        let modes = tcgetattr(&self.pty.slave)?.local_flags;
        let parser = lock(&self.screen);
        let screen = parser.screen();
        Ok(modes.contains(LocalFlags::ICANON | LocalFlags::ECHO)
            && !screen.alternate_screen()
            && !screen.hide_cursor())
    }

    fn ensure_given_back(&self) -> Result<()> {
        within("the terminal is as before", EVENTUALLY, || {
            self.is_given_back()
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().context("cannot start uplinkctl")
}

fn window(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn some(signs: u16) -> NonZeroU16 {
    NonZeroU16::new(signs).unwrap_or(NonZeroU16::MIN)
}

fn lock(screen: &Mutex<vt100::Parser>) -> std::sync::MutexGuard<'_, vt100::Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}
