//! The program for the kernel in `crates/flows/bpf`: compiled by those who change it, committed for all
//! others, and held against its source by sums that lie beside it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

const SOURCE: &str = "crates/flows/bpf/tcp.bpf.c";
const OBJECT: &str = "crates/flows/bpf/tcp.bpf.o";
const SUMS: &str = "crates/flows/bpf/tcp.bpf.sum";

/// Compilers that are tried, in this order. Any from 12 on does; the committed object is by the first.
const COMPILERS: [&str; 2] = ["clang-14", "clang"];

/// Compiles the source and notes which source it was.
pub(crate) fn compile() -> Result<()> {
    let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    for compiler in COMPILERS {
        let mut command = Command::new(compiler);
        command.args(["-O2", "-Wall", "-Wextra", "-Werror", "-target", "bpfel"]);
        // From 5.1 on every kernel knows this set of instructions.
        command.args(["-mcpu=v3", &include, "-c", SOURCE, "-o", OBJECT]);
        match command.status() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).context(format!("cannot run {compiler}")),
            Ok(status) => {
                ensure!(status.success(), "{compiler} does not compile {SOURCE}");
                return fs::write(SUMS, sums(&read(SOURCE)?, &read(OBJECT)?))
                    .context("cannot write the sums");
            }
        }
    }
    bail!(
        "neither of {} is here: `apt-get install clang-14`",
        COMPILERS.join(", ")
    )
}

/// Says what is wrong where the object is not that of the source.
pub(crate) fn check(breaches: &mut Vec<String>) -> Result<()> {
    let noted = fs::read_to_string(SUMS).unwrap_or_default();
    if noted != sums(&read(SOURCE)?, &read(OBJECT)?) {
        breaches.push(format!(
            "{OBJECT} is not compiled from {SOURCE} as it is: run `cargo xtask bpf`"
        ));
    }
    Ok(())
}

fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(Path::new(path)).with_context(|| format!("cannot read {path}"))
}

fn sums(source: &[u8], object: &[u8]) -> String {
    format!("source {:016x}\nobject {:016x}\n", sum(source), sum(object))
}

/// FNV-1a: it finds what was forgotten, and keeps out nobody who means it.
fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_either_file_changes_the_sums() {
        let before = sums(b"int x;", b"\x7fELF");
        assert_ne!(before, sums(b"int y;", b"\x7fELF"));
        assert_ne!(before, sums(b"int x;", b"\x7fELG"));
        // A value that the algorithm's authors give.
        assert_eq!(sum(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
