//! Reads and checks a file with 10,000 policies and 100,000 prefixes, and says how long each step
//! took: `cargo run --release -p uplinkd-config --example large`. With a folder as its argument it
//! leaves the files there.
#![expect(clippy::print_stdout, reason = "that is what it is for")]

mod generate;

use std::{path::Path, time::Instant};

use uplinkd_config::{OutletCodes, Slots};

fn main() -> std::io::Result<()> {
    let large = generate::large(10_000, 50_000);
    if let Some(folder) = std::env::args().nth(1) {
        let folder = Path::new(&folder);
        std::fs::write(folder.join("uplinkd.toml"), &large.text)?;
        for (path, text) in &large.sources.files {
            std::fs::write(folder.join(path), text.as_deref().unwrap_or_default())?;
        }
    }
    let begin = Instant::now();
    let draft = uplinkd_config::read("uplinkd.toml", &large.text);
    let read = Instant::now();
    let parsed = match draft.check(&large.sources) {
        Ok(parsed) => parsed,
        Err(found) => {
            println!("{} mistakes, such as {:?}", found.len(), found.first());
            return Ok(());
        }
    };
    let checked = Instant::now();
    let config = parsed.to_config(&Slots::default(), &OutletCodes::default());
    let made = Instant::now();
    println!(
        "{} policies, {} KiB: read {:?}, checked {:?}, made {:?}",
        config.policies.len(),
        large.text.len() / 1024,
        read - begin,
        checked - read,
        made - checked
    );
    Ok(())
}
