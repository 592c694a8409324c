//! What is kept across restarts: the numbers of uplinks and outlets, what we claimed in the kernel, and the values
//! that sysctls had before us. Losing it loses no traffic: numbers are given again by the order in the
//! file, and `clean` cannot restore what it does not remember.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uplinkd_config::{OutletCodes, Parsed, Slots};
use uplinkd_model::{Config, Reserve};

use crate::{ledger::LedgerFile, trial::TrialFile, wishes};

/// The memory of the daemon, in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    #[serde(skip)]
    dir: PathBuf,
    /// The uplinks' lasting numbers.
    #[serde(default)]
    pub slots: Slots,
    /// The lasting numbers of what policies lead to, so that marks keep their meaning.
    #[serde(default)]
    pub outlets: OutletCodes,
    /// What we claim, and what earlier configurations claimed that may still be in the kernel.
    #[serde(default)]
    pub reserves: Vec<Reserve>,
    /// Values from before our first change, by path below `/proc/sys`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

impl State {
    const FILE: &'static str = "state.json";

    /// Reads the memory; an empty one where there is none.
    ///
    /// # Errors
    /// When the file is there but cannot be read or is not ours: guessing could claim wrong objects.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(Self::FILE);
        let mut state = match fs::read(&path) {
            Ok(bytes) => read_text(&bytes).with_context(|| {
                format!(
                    "{} is damaged; move it away and start again",
                    path.display()
                )
            })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        state.dir = dir.to_owned();
        Ok(state)
    }

    /// Writes the memory so that a crash leaves either the old or the new one.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self) -> anyhow::Result<()> {
        let file = self.dir.join(Self::FILE);
        serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|bytes| replace(&file, &bytes))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The configuration with each uplink's and outlet's lasting number; new ones are given and
    /// noted, not saved.
    ///
    /// # Errors
    /// When there are more of them than the mark has room for, which the file's checks exclude.
    pub fn config(&mut self, parsed: &Parsed) -> anyhow::Result<Config> {
        parsed.allocate(&mut self.slots, &mut self.outlets)?;
        Ok(parsed.to_config(&self.slots, &self.outlets))
    }

    /// Notes the value that a sysctl had before our first change. True where it was not known yet.
    pub fn remember_sysctl(&mut self, path: &str, value: &str) -> bool {
        if self.sysctls.contains_key(path) {
            return false;
        }
        self.sysctls.insert(path.to_owned(), value.to_owned());
        true
    }

    /// Forgets everything, on disk too.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(self) -> anyhow::Result<()> {
        for file in [Self::FILE, LedgerFile::FILE, wishes::FILE, TrialFile::FILE] {
            match fs::remove_file(self.dir.join(file)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(e).context("cannot remove the memory");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes a file so that a crash or a loss of power leaves either the old or the new one.
pub(crate) fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let (Some(dir), Some(name)) = (file.parent(), file.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".{}.new", name.display()));
    let mut new = fs::File::create(&temporary)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&temporary, file)?;
    // The new name too must survive.
    fs::File::open(dir)?.sync_all()
}

/// Reads the memory, also one from before the mark had a part for outlets: then half of its bits
/// numbered the uplinks.
fn read_text(bytes: &[u8]) -> serde_json::Result<State> {
    let mut memory: Value = serde_json::from_slice(bytes)?;
    let reserves = memory.get_mut("reserves").and_then(Value::as_array_mut);
    for reserve in reserves
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        let mask = reserve.get("mark_mask").and_then(Value::as_u64);
        let half = mask.map_or(0, u64::count_ones) / 2;
        reserve.entry("mark_uplink_bits").or_insert(half.into());
    }
    serde_json::from_value(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_sysctl_is_the_one_that_is_kept() {
        let mut state = State::default();
        assert!(state.remember_sysctl("net/ipv4/ip_forward", "0"));
        assert!(!state.remember_sysctl("net/ipv4/ip_forward", "1"));
        assert_eq!(state.sysctls["net/ipv4/ip_forward"], "0");
    }

    #[test]
    fn memory_survives_a_restart_and_damage_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        state.remember_sysctl("net/ipv4/ip_forward", "0");
        state.reserves.push(Reserve::default());
        state.save().unwrap();
        let again = State::load(dir.path()).unwrap();
        assert_eq!(again.sysctls, state.sysctls);
        assert_eq!(again.reserves, state.reserves);
        fs::write(dir.path().join(State::FILE), "{").unwrap();
        assert!(
            State::load(dir.path())
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
    }

    #[test]
    fn a_memory_from_before_outlets_is_understood() {
        let mut memory =
            serde_json::json!({ "slots": { "isp1": 1 }, "reserves": [Reserve::default()] });
        let reserve = memory["reserves"][0].as_object_mut().unwrap();
        reserve.remove("mark_uplink_bits");
        let state = read_text(memory.to_string().as_bytes()).unwrap();
        assert_eq!(state.reserves[0].mark_uplink_bits, 4);
        assert_eq!(state.reserves[0].mark_mask, 0xff00_0000);
    }
}
