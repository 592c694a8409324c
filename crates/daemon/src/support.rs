//! What helps who looks for a mistake, and only the daemon sees: for `uplinkctl report --bug`.
//!
//! Written on a thread beside the loop, with sockets of its own: reading the whole kernel, compiling all
//! policies for the difference and running `nft` take longer than a failover may. Whatever is written
//! goes through [`hide_secrets`], and the file through [`without_secrets`].

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use uplinkd_api::Support;
use uplinkd_config::{hide_secrets, without_secrets};
use uplinkd_core::{Controller, Wishes};
use uplinkd_kernel::{Kernel, nft};
use uplinkd_model::{Config, Observed, Plan, Reserve};

use crate::{command::plan, ledger::LedgerFile};

/// Objects of a kind that are listed; beyond it how many more there are.
const LISTED_MAX: usize = 2000;
/// Bytes of the newest samples that are taken.
const SAMPLES_MAX: u64 = 512 * 1024;

/// What the loop hands over.
pub(crate) struct Subject {
    /// The file in force.
    pub(crate) text: String,
    pub(crate) config: Config,
    pub(crate) reserves: Vec<Reserve>,
    pub(crate) wishes: Wishes,
    pub(crate) state_dir: PathBuf,
    /// Where samples are recorded.
    pub(crate) samples: PathBuf,
}

impl Subject {
    /// Writes all of it. What cannot be had says why in its place.
    pub(crate) fn write(self) -> Support {
        let mut texts = BTreeMap::new();
        let mut add = |name: &str, text: String| {
            texts.insert(name.to_owned(), hide_secrets(&text));
        };
        add("versions.txt", versions());
        let config = without_secrets(&self.text);
        add(
            "config.toml",
            config.unwrap_or_else(|| "# it cannot be read\n".to_owned()),
        );
        match newest_samples(&self.samples) {
            Ok(Some(samples)) => add("samples.csv", samples),
            Ok(None) => {}
            Err(error) => add(
                "samples.csv",
                format!("# cannot read the samples: {error}\n"),
            ),
        }
        let table = self.config.reserve.nft_table.clone();
        match self.difference() {
            Ok((observed, planned)) => {
                add("kernel.txt", kernel(&observed));
                add("plan.txt", planned.to_string());
            }
            Err(error) => add(
                "kernel.txt",
                format!("cannot look at the kernel: {error:#}\n"),
            ),
        }
        add(
            "nft.txt",
            nft::listing(&table).unwrap_or_else(|error| format!("{error}\n")),
        );
        Support { texts }
    }

    /// What a daemon that started now would see and do.
    fn difference(self) -> anyhow::Result<(Observed, Plan)> {
        let mut kernel = Kernel::open()?.with_state_dir(Some(self.state_dir.clone()));
        let ledger = LedgerFile::new(&self.state_dir).load().unwrap_or_default();
        let controller = Controller::new(self.config, self.reserves, uplinkd_core::Time::default());
        plan::difference(&mut kernel, controller, ledger, self.wishes)
    }
}

fn versions() -> String {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let os = line("/etc/os-release");
    let os = os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    let nft = nft::version().unwrap_or_else(|error| error.to_string());
    format!(
        "uplinkd {}\nkernel {} {}\nsystem {}\nnft {nft}\n",
        env!("CARGO_PKG_VERSION"),
        line("/proc/sys/kernel/osrelease").trim(),
        std::env::consts::ARCH,
        os.unwrap_or("unknown").trim_matches('"'),
    )
}

/// What the kernel holds, as lines that a person would type.
fn kernel(observed: &Observed) -> String {
    let mut out = String::new();
    let links = observed.links.values().map(|link| {
        let addresses: Vec<_> = link.addresses.iter().map(ToString::to_string).collect();
        let (up, carrier) = (link.admin_up, link.carrier);
        let (index, name) = (link.device.index, &link.device.name);
        format!(
            "{index}: {name} up={up} carrier={carrier} {}",
            addresses.join(" ")
        )
    });
    section(&mut out, "interfaces", links);
    section(&mut out, "rules, all of them", observed.rules.iter());
    section(
        &mut out,
        "nexthops, all of them",
        observed.nexthops.values(),
    );
    section(
        &mut out,
        "routes of ours or in our tables",
        observed.routes.iter(),
    );
    let defaults = observed.foreign_defaults.iter().map(|d| format!("{d:?}"));
    section(&mut out, "default routes of others", defaults);
    let names = observed.table_names.iter();
    section(
        &mut out,
        "names of tables",
        names.map(|(id, name)| format!("{id} {name}")),
    );
    let sysctls = observed.sysctls.iter();
    section(
        &mut out,
        "sysctls",
        sysctls.map(|(path, value)| format!("{path} = {value}")),
    );
    let nft = observed.nft.iter().map(|state| format!("{state:?}"));
    section(&mut out, "our nft table", nft);
    out
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = impl Display>) {
    let _ = writeln!(out, "# {title}");
    let mut left = 0;
    for (n, line) in lines.enumerate() {
        match n < LISTED_MAX {
            true => drop(writeln!(out, "{line}")),
            false => left += 1,
        }
    }
    if left > 0 {
        let _ = writeln!(out, "# and {left} more");
    }
    out.push('\n');
}

/// The newest of what was recorded, with its header; none where nothing was.
fn newest_samples(folder: &Path) -> io::Result<Option<String>> {
    let mut files = match fs::read_dir(folder) {
        Ok(entries) => entries
            .map(|e| Ok(e?.path()))
            .collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Names sort by time.
    files.retain(|f| f.extension().is_some_and(|e| e == "csv"));
    files.sort();
    let mut text = String::new();
    for file in files.iter().rev() {
        let room = SAMPLES_MAX.saturating_sub(text.len() as u64);
        if room == 0 {
            break;
        }
        text.insert_str(0, &tail(file, room)?);
    }
    // Each file begins with the header; what was cut does not.
    let header = uplinkd_model::record::COLUMNS.join(",");
    let rows = text.lines().filter(|l| *l != header);
    let text = rows.fold(format!("{header}\n"), |text, row| text + row + "\n");
    Ok((!files.is_empty()).then_some(text))
}

/// The last whole lines of a file.
fn tail(file: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(most);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match (from, text.split_once('\n')) {
        (0, _) => text.into_owned(),
        (_, Some((_, whole))) => whole.to_owned(),
        (_, None) => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_samples_are_whole_lines_below_one_header() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest_samples(&folder.path().join("none")).unwrap(), None);
        let header = uplinkd_model::record::COLUMNS.join(",");
        let rows = |first: usize, count: usize| -> String {
            (first..first + count)
                .map(|n| format!("{n},isp1,icmp:1.1.1.1,1.5\n"))
                .collect()
        };
        let put = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        put(
            "samples-1-000.csv",
            format!("{header}\n{}", rows(100_000, 50_000)),
        );
        put(
            "samples-2-000.csv",
            format!("{header}\n{}", rows(150_000, 100)),
        );
        put("other.txt", "foreign".to_owned());
        let text = newest_samples(folder.path()).unwrap().unwrap();
        assert!(
            text.starts_with(&format!("{header}\n1")),
            "{}",
            &text[..200]
        );
        assert!(text.ends_with("150099,isp1,icmp:1.1.1.1,1.5\n"));
        assert_eq!(text.matches("time,").count(), 1);
        assert!(text.len() as u64 <= SAMPLES_MAX + 200, "{}", text.len());
        assert!(
            text.lines().skip(1).all(|l| l.len() == 28),
            "a line was cut"
        );
    }
}
