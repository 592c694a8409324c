//! What people want of uplinks for a while, on the disk.

use std::{fs, io, path::Path, time::Duration};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use uplinkd_core::{Time, Wish, Wishes};
use uplinkd_model::{By, UplinkName};

/// Its file in the state directory.
pub(crate) const FILE: &str = "wishes.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(default)]
    drained: Vec<KeptWish>,
    #[serde(default)]
    preferred: Option<KeptWish>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptWish {
    uplink: UplinkName,
    until: Option<Until>,
    by: By,
}

/// An end by the wall clock, in a file that may be read under another one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Until {
    /// Unix seconds.
    unix: f64,
    /// How much was left when it was written. A clock that begins in 1970 must not make it more.
    left: f64,
}

impl Until {
    /// So much is left at this moment, in unix seconds.
    pub(crate) fn after(left: Duration, unix: f64) -> Self {
        let left = left.as_secs_f64();
        Self {
            unix: unix + left,
            left,
        }
    }

    /// How much is left at another moment.
    pub(crate) fn left(self, unix: f64) -> Duration {
        let left = (self.unix - unix).min(self.left).max(0.0);
        Duration::try_from_secs_f64(left).unwrap_or_default()
    }
}

/// The content of the file for these wishes, at a moment in both clocks.
pub(crate) fn to_bytes(wishes: &Wishes, now: Time, unix: f64) -> Vec<u8> {
    let keep = |wish: &Wish| KeptWish {
        uplink: wish.uplink.clone(),
        until: wish.until.map(|at| Until::after(at.since(now), unix)),
        by: wish.by.clone(),
    };
    let kept = Kept {
        drained: wishes.drained.iter().map(keep).collect(),
        preferred: wishes.preferred.as_ref().map(keep),
    };
    // Names, numbers and texts always become JSON.
    serde_json::to_vec_pretty(&kept).unwrap_or_default()
}

/// Reads the file at a moment; nothing where there is none.
///
/// # Errors
/// When it is there and cannot be read.
pub(crate) fn load(dir: &Path, now: Time, unix: f64) -> anyhow::Result<Wishes> {
    let file = dir.join(FILE);
    let kept: Kept = match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is damaged", file.display()))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Wishes::default()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", file.display())),
    };
    let of = |kept: KeptWish| Wish {
        uplink: kept.uplink,
        since: now,
        until: kept.until.map(|until| now + until.left(unix)),
        by: kept.by,
    };
    Ok(Wishes {
        drained: kept.drained.into_iter().map(of).collect(),
        preferred: kept.preferred.map(of),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Time {
        Time(Duration::from_secs(s))
    }

    #[test]
    fn what_is_left_goes_on_under_the_wall_clock_and_is_never_more() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), at(0), 0.0).unwrap(), Wishes::default());
        let wish = |name: &str, until: Option<u64>| Wish {
            uplink: UplinkName::new(name).unwrap(),
            since: at(5),
            until: until.map(at),
            by: By::new("root (uid 0)"),
        };
        let wishes = Wishes {
            drained: vec![wish("isp1", Some(3605)), wish("isp2", None)],
            preferred: Some(wish("isp3", Some(65))),
        };
        let unix = 1_795_000_000.0;
        fs::write(dir.path().join(FILE), to_bytes(&wishes, at(5), unix)).unwrap();
        let ends = |unix| {
            let wishes = load(dir.path(), at(2), unix).unwrap();
            let preferred = wishes.preferred.unwrap().until;
            (wishes.drained[0].until, wishes.drained[1].until, preferred)
        };
        assert_eq!(ends(unix + 60.0), (Some(at(3542)), None, Some(at(2))));
        assert_eq!(ends(unix + 9999.0), (Some(at(2)), None, Some(at(2))));
        assert_eq!(ends(0.0), (Some(at(3602)), None, Some(at(62))), "1970");
        fs::write(dir.path().join(FILE), "{").unwrap();
        let damaged = load(dir.path(), at(0), unix).unwrap_err();
        assert!(damaged.to_string().contains("damaged"));
    }
}
