//! The thread that writes recordings: files of bounded size, the oldest removed first.
//!
//! Written in large pieces and seldom, since flash wears out by the number of writes. What is in
//! memory when the power fails is lost; at most half a minute.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::warn;
use uplinkd_model::record::{COLUMNS, Row};

/// Into so many files a recording is divided; the oldest is removed as a whole.
const FILES: u64 = 8;
/// How much is kept in memory before it is written.
const BUFFER: usize = 64 << 10;
/// How long it is kept there at most.
const FLUSH_EVERY: Duration = Duration::from_secs(30);
/// After an error the disk is left alone for so long.
const PAUSE: Duration = Duration::from_secs(60);

/// Writes until the other end is gone. `size` is in bytes.
pub(super) fn run(folder: &Path, size: u64, batches: &Receiver<Vec<Row>>) {
    let mut writer = Writer {
        folder: folder.to_owned(),
        size,
        open: None,
        flushed: Instant::now(),
        paused_until: None,
        dropped: 0,
    };
    loop {
        match batches.recv_timeout(FLUSH_EVERY) {
            Ok(rows) => writer.take(&rows),
            Err(RecvTimeoutError::Timeout) => writer.flush(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    writer.flush();
}

struct Writer {
    folder: PathBuf,
    size: u64,
    /// The file, and how much was written to it.
    open: Option<(BufWriter<File>, u64)>,
    flushed: Instant,
    paused_until: Option<Instant>,
    /// Rows that could not be written since the last that could.
    dropped: u64,
}

impl Writer {
    fn take(&mut self, rows: &[Row]) {
        if self
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            self.dropped += rows.len() as u64;
            return;
        }
        if let Err(error) = self.write(rows) {
            self.give_up(&error, rows.len() as u64);
        } else if self.flushed.elapsed() >= FLUSH_EVERY {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if let Some((file, _)) = &mut self.open
            && let Err(error) = file.flush()
        {
            self.give_up(&error, 0);
        }
    }

    fn write(&mut self, rows: &[Row]) -> io::Result<()> {
        let most = (self.size / FILES).max(1);
        if self
            .open
            .as_ref()
            .is_some_and(|(_, written)| *written >= most)
        {
            self.flush();
            self.open = None;
        }
        if self.open.is_none() {
            self.open = Some(self.begin()?);
        }
        let Some((file, written)) = &mut self.open else {
            return Ok(());
        };
        if self.dropped > 0 {
            let time = unix();
            let dropped = self.dropped;
            writeln!(file, "{time:.3},,,,,,,,,{dropped} rows dropped")?;
            self.dropped = 0;
        }
        for row in rows {
            let line = format!("{row}\n");
            file.write_all(line.as_bytes())?;
            *written += line.len() as u64;
        }
        Ok(())
    }

    /// Begins a file, after making room for it.
    fn begin(&self) -> io::Result<(BufWriter<File>, u64)> {
        fs::create_dir_all(&self.folder)?;
        self.make_room()?;
        // Names sort by time; the number keeps two of one second apart.
        for number in 0.. {
            let name = format!("samples-{:.0}-{number:03}.csv", unix().floor());
            let file = File::options()
                .write(true)
                .create_new(true)
                .open(self.folder.join(name));
            match file {
                Ok(file) => {
                    let mut file = BufWriter::with_capacity(BUFFER, file);
                    let header = COLUMNS.join(",") + "\n";
                    file.write_all(header.as_bytes())?;
                    return Ok((file, header.len() as u64));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 999 => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }

    /// Removes the oldest files until one more fits.
    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Nothing but our own recordings is ever removed.
            if name.starts_with("samples-") && name.ends_with(".csv") {
                files.push((entry.path(), entry.metadata()?.len()));
            }
        }
        files.sort();
        let room = self.size - self.size / FILES;
        let mut total: u64 = files.iter().map(|(_, len)| len).sum();
        for (path, len) in files {
            if total <= room {
                break;
            }
            fs::remove_file(path)?;
            total -= len;
        }
        Ok(())
    }

    /// A disk that is full, or gone, is tried again later. What was in memory is lost.
    fn give_up(&mut self, error: &io::Error, rows: u64) {
        self.dropped += rows;
        self.paused_until = Some(Instant::now() + PAUSE);
        if let Some((file, _)) = self.open.take() {
            // Not written once more when it is dropped.
            let _ = file.into_parts();
        }
        let folder = self.folder.display();
        warn!(%error, "samples are not recorded for {PAUSE:?}: cannot write below {folder}");
    }
}

fn unix() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use uplinkd_model::record::Seen;

    use super::*;

    fn rows(count: usize) -> Vec<Row> {
        let row = Row {
            time: Duration::from_secs(1_764_345_601),
            uplink: None,
            family: None,
            seen: Seen::Event("x".repeat(80)),
        };
        vec![row; count]
    }

    fn written(folder: &Path) -> Vec<(String, u64)> {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap());
        let mut files: Vec<_> = entries
            .map(|e| {
                let name = e.file_name().to_string_lossy().into_owned();
                (name, e.metadata().unwrap().len())
            })
            .collect();
        files.sort();
        files
    }

    fn run_with(folder: &Path, size: u64, batches: usize) {
        let (queue, received) = sync_channel(batches);
        for _ in 0..batches {
            queue.send(rows(100)).unwrap();
        }
        drop(queue);
        run(folder, size, &received);
    }

    #[test]
    fn the_disk_it_takes_is_bounded_and_nothing_else_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let size = 1 << 20;
        fs::write(dir.path().join("notes.csv"), "mine").unwrap();
        fs::write(dir.path().join("samples-0000000001-000.csv"), "old").unwrap();
        run_with(dir.path(), size, 300);
        let files = written(dir.path());
        assert!(files.iter().any(|(name, _)| name == "notes.csv"));
        assert!(!files.iter().any(|(name, _)| name.contains("0000000001")));
        let total: u64 = files.iter().map(|(_, len)| len).sum();
        assert!(total > size / 2 && total < size + size / 8, "{total}");
    }

    #[test]
    fn every_file_begins_with_the_columns() {
        let dir = tempfile::tempdir().unwrap();
        run_with(dir.path(), 1 << 17, 4);
        let files = written(dir.path());
        assert!(files.len() > 1, "{files:?}");
        for (name, _) in files {
            let text = fs::read_to_string(dir.path().join(name)).unwrap();
            assert!(text.starts_with("time,uplink,target,rtt_ms,"), "{text}");
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_loses_rows_and_says_so_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        // A file stands where the folder should be.
        let folder = dir.path().join("record");
        fs::write(&folder, "").unwrap();
        let mut writer = Writer {
            folder: folder.clone(),
            size: 1 << 20,
            open: None,
            flushed: Instant::now(),
            paused_until: None,
            dropped: 0,
        };
        writer.take(&rows(3));
        writer.take(&rows(4));
        assert_eq!(writer.dropped, 7);
        fs::remove_file(&folder).unwrap();
        writer.paused_until = None;
        writer.take(&rows(1));
        writer.flush();
        let (name, _) = written(&folder).remove(0);
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(",7 rows dropped\n"), "{text}");
    }
}
