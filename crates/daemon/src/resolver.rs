//! What a resolver has to be told, so that it fills the sets of policies with `domain`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use uplinkd_model::Config;

/// The longest line that dnsmasq reads whole, with some room.
const LINE_MAX: usize = 900;

/// Which names fill which sets: of each name all sets that want it or a name above it, since
/// dnsmasq obeys only the longest name that an answer lies below.
fn names(config: &Config) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (names, set) in domains(config) {
        for name in names {
            wanted.entry(name).or_default().insert(set);
        }
    }
    let sets_of = |name: &str| {
        let above = name
            .match_indices('.')
            .map(|(at, _)| &name[at + 1..])
            .chain([name]);
        above
            .filter_map(|name| wanted.get(name))
            .flatten()
            .map(|set| (*set).to_owned())
            .collect()
    };
    let of_name = |name: &&str| ((*name).to_owned(), sets_of(name));
    wanted.keys().map(of_name).collect()
}

/// The names and the set of each clause that speaks of domains.
pub(crate) fn domains(config: &Config) -> impl Iterator<Item = (&[String], &str)> {
    let clauses = config.policies.iter().flat_map(|p| &p.clauses);
    clauses.filter_map(|clause| clause.selector.domain())
}

/// The lines for dnsmasq (2.87 or newer, built with nftset); empty without such policies.
pub(crate) fn dnsmasq(config: &Config) -> String {
    let table = &config.reserve.nft_table;
    let mut by_sets: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
    for (name, sets) in names(config) {
        by_sets.entry(sets).or_default().push(name);
    }
    let mut lines = String::new();
    for (sets, names) in by_sets {
        let target = |set: &String| format!("4#inet#{table}#dns4_{set},6#inet#{table}#dns6_{set}");
        let targets = sets.iter().map(target).collect::<Vec<_>>().join(",");
        let mut line = String::new();
        for name in names {
            if line.len() + name.len() + targets.len() > LINE_MAX && !line.is_empty() {
                lines += &format!("nftset={line}/{targets}\n");
                line.clear();
            }
            line += &format!("/{name}");
        }
        lines += &format!("nftset={line}/{targets}\n");
    }
    lines
}

/// Where dnsmasq and unbound keep their settings, on the systems that we know.
const FILES: [&str; 9] = [
    "etc/dnsmasq.conf",
    "etc/dnsmasq.d",
    "etc/NetworkManager/dnsmasq.d",
    "etc/NetworkManager/dnsmasq-shared.d",
    "run/dnsmasq",
    "tmp/dnsmasq.d",
    "var/etc",
    "etc/unbound",
    "etc/unbound/unbound.conf.d",
];
/// The longest of such files that is looked at, in bytes.
const FILE_MAX: u64 = 16 << 20;

/// Which of the sets no resolver's file below this root speaks of.
pub(crate) fn not_told(config: &Config, root: &Path) -> BTreeSet<String> {
    let mut missing: BTreeSet<String> = domains(config).map(|(_, set)| set.to_owned()).collect();
    if missing.is_empty() {
        return missing;
    }
    let directory = |path: &PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let paths: Vec<_> = FILES.iter().map(|f| root.join(f)).collect();
    let inside = paths.iter().flat_map(directory).map(|e| e.path());
    let files: Vec<_> = inside.chain(paths.iter().cloned()).collect();
    for file in files.iter().filter(|f| f.is_file()) {
        let text = fs::File::open(file)
            .and_then(|file| crate::sources::bounded(file, FILE_MAX))
            .unwrap_or_default();
        let lines = || text.lines().filter(|l| !l.trim_start().starts_with('#'));
        missing.retain(|set| {
            let speaks = |line: &str| {
                line.match_indices(&format!("dns4_{set}"))
                    .any(|(at, found)| !line[at + found.len()..].starts_with(is_of_name))
            };
            !lines().any(speaks)
        });
    }
    missing
}

/// Whether a character goes on a set's name.
fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(policies: &[(&str, &[&str])]) -> Config {
        let mut text = "[uplink.isp1]\ninterface = \"wan1\"\n".to_owned();
        for (name, domains) in policies {
            text += &format!(
                "\n[[policy]]\nname = \"{name}\"\nmatch = {{ domain = {domains:?} }}\nuse = \"isp1\"\n"
            );
        }
        let parsed = uplinkd_config::parse("t", &text).unwrap();
        parsed.to_config(&Default::default(), &Default::default())
    }

    #[test]
    fn names_with_the_same_sets_share_a_line() {
        let config = config(&[("video", &["zoom.us", "*.netflix.com"])]);
        assert_eq!(
            dnsmasq(&config),
            "nftset=/netflix.com/zoom.us/4#inet#uplinkd#dns4_video,6#inet#uplinkd#dns6_video\n"
        );
    }

    #[test]
    fn a_name_below_another_fills_the_sets_of_both() {
        let config = config(&[
            ("all", &["example.com"]),
            ("calls", &["meet.example.com", "example.com.invalid"]),
            ("again", &["example.com"]),
        ]);
        let lines = dnsmasq(&config);
        let line = |name: &str| {
            let line = lines.lines().find(|l| l.contains(&format!("/{name}/")));
            line.unwrap_or_default().to_owned()
        };
        for set in ["all", "again", "calls"] {
            assert!(line("meet.example.com").contains(&format!("dns6_{set}")));
        }
        assert!(!line("example.com").contains("dns4_calls,"));
        assert!(!line("example.com.invalid").contains("dns4_all,"));
    }

    #[test]
    fn long_lists_are_cut_into_lines_that_dnsmasq_reads() {
        let names: Vec<_> = (0..200).map(|n| format!("name{n}.example.com")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let lines = dnsmasq(&config(&[("many", &names)]));
        assert!(lines.lines().count() > 3);
        assert!(lines.lines().all(|l| l.len() < 1000), "{lines}");
        assert_eq!(lines.matches(".example.com").count(), 200);
    }

    #[test]
    fn a_set_that_no_resolver_fills_is_found() {
        let root = tempfile::tempdir().unwrap();
        let config = config(&[("video", &["zoom.us"]), ("video-hd", &["netflix.com"])]);
        let missing = || not_told(&config, root.path());
        assert_eq!(missing().len(), 2);
        let directory = root.path().join("etc/dnsmasq.d");
        fs::create_dir_all(&directory).unwrap();
        let lines = dnsmasq(&config);
        let hd: String = lines.lines().filter(|l| l.contains("video-hd")).collect();
        fs::write(directory.join("uplinkd.conf"), format!("#{lines}")).unwrap();
        assert_eq!(missing().len(), 1, "the first line is a comment");
        fs::write(directory.join("uplinkd.conf"), hd).unwrap();
        assert_eq!(missing(), BTreeSet::from(["video".to_owned()]));
        fs::write(directory.join("uplinkd.conf"), lines).unwrap();
        assert!(missing().is_empty());
    }
}
