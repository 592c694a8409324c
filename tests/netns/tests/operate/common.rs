//! What these tests say again and again.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uplinkd_lab::{Isp, process::Output, traffic::Transport};
use uplinkd_model::Family;
use uplinkd_netns_tests::{
    Ask, EVENTUALLY, Rig,
    ask::{Conversation, ask_all, open_all},
    servers_of, within,
};

/// Both families.
pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Runs `uplinkctl` inside the router.
pub(crate) fn ctl(rig: &Rig, words: &str) -> Result<Output> {
    let words: Vec<_> = words.split(' ').collect();
    rig.tool("uplinkctl", &words)
}

/// Runs it; it must end with this exit code. Returns what it said.
pub(crate) fn says(rig: &Rig, words: &str, code: i32) -> Result<String> {
    let output = ctl(rig, words)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "`uplinkctl {words}` ended with {} instead of {code}:\n{said}",
        output.status
    );
    Ok(said)
}

/// What it prints as JSON; it must end with this exit code.
pub(crate) fn json(rig: &Rig, words: &str, code: i32) -> Result<Value> {
    says(rig, words, code)?;
    let output = ctl(rig, words)?;
    serde_json::from_str(&output.stdout).with_context(|| output.stdout.clone())
}

/// Conversations of the LAN that are held open.
pub(crate) struct Held {
    conversations: Vec<Conversation>,
    lines: Vec<Isp>,
}

impl Held {
    /// So many in each family that some are on each line.
    pub(crate) fn open(rig: &Rig) -> Result<Self> {
        let to = FAMILIES.map(|f| servers_of(rig.lab(), f).into_iter().take(16));
        let asks = to
            .into_iter()
            .flatten()
            .map(|a| Ask::new(Transport::Udp, a));
        let asks: Vec<_> = asks.collect();
        let mut conversations = open_all(rig.lab().client(), asks)?;
        let answers = ask_all(&mut conversations);
        let lines: Option<Vec<_>> = answers.iter().map(|a| a.isp()).collect();
        let lines = lines.with_context(|| format!("not all are answered: {answers:?}"))?;
        Ok(Self {
            conversations,
            lines,
        })
    }

    /// How many are on a line.
    pub(crate) fn on(&self, isp: Isp) -> usize {
        self.lines.iter().filter(|l| **l == isp).count()
    }

    /// All are answered, and by the lines that they began on.
    pub(crate) fn ensure_stay(&mut self, when: &str) -> Result<()> {
        let answers = ask_all(&mut self.conversations);
        let lines: Vec<_> = answers.iter().map(|a| a.isp()).collect();
        let as_before: Vec<_> = self.lines.iter().map(|l| Some(*l)).collect();
        ensure!(
            lines == as_before,
            "{when}: {lines:?} instead of {as_before:?}"
        );
        Ok(())
    }
}

/// Waits until new connections of both families, of the LAN and of the router, take these lines and no
/// others.
pub(crate) fn wait_new(rig: &Rig, lines: &[Isp], when: &str) -> Result<()> {
    let mut seen = Vec::new();
    let found = within(when, EVENTUALLY, || {
        seen.clear();
        for place in [rig.lab().client(), rig.lab().router()] {
            for family in FAMILIES {
                let to = servers_of(rig.lab(), family).into_iter().take(16);
                let asks: Vec<_> = to.map(|a| Ask::new(Transport::Udp, a)).collect();
                let mut opened = open_all(place, asks)?;
                seen.extend(ask_all(&mut opened));
            }
        }
        let is_good = seen
            .iter()
            .all(|a| a.isp().is_some_and(|l| lines.contains(&l)));
        let all_used = lines
            .iter()
            .all(|l| seen.iter().any(|a| a.isp() == Some(*l)));
        Ok(is_good && all_used)
    });
    found.with_context(|| format!("{when}: {seen:?}"))
}

/// The events of a kind, as what they tell programs.
pub(crate) fn events(rig: &Rig, kind: &str) -> Result<Vec<Value>> {
    let events = rig.events()?.events.into_iter();
    Ok(events
        .filter(|e| e.kind == kind)
        .map(|e| e.detail)
        .collect())
}

/// Waits until something of a kind has happened so often.
pub(crate) fn wait_events(rig: &Rig, kind: &str, count: usize) -> Result<Vec<Value>> {
    within(&format!("{count} times {kind}"), EVENTUALLY, || {
        Ok(rig.count_events(kind).is_ok_and(|n| n >= count))
    })?;
    events(rig, kind)
}
