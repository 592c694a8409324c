//! Where text meets the terminal: data to stdout, talk to stderr, colour only where it is wanted.

use std::{
    error::Error,
    io::{self, IsTerminal, Write},
};

use serde::Serialize;
use uplinkd_api::ClientError;

use crate::{
    exit::Exit,
    render::{self, words::escape},
};

/// Writes data. False where nobody reads any more, as behind `| head`: no reason to complain.
#[must_use]
pub(crate) fn data(text: &str) -> bool {
    let mut stdout = anstream::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_ok()
}

/// Empties the screen, where there is one, so that the next [`data`] takes the place of the last.
pub(crate) fn begin_page() {
    // Past anstream, which under NO_COLOR would take this for colour.
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        let _ = stdout.write_all(b"\x1b[2J\x1b[H");
    }
}

/// Tells a person something that is not data.
pub(crate) fn note(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", escape(text));
}

/// Tells a person several lines that were made harmless before.
pub(crate) fn lines(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Tells what went wrong, and what to do about it.
pub(crate) fn problem(text: &str, hint: Option<&str>) {
    let mut stderr = anstream::stderr();
    let _ = writeln!(stderr, "error: {}", escape(text));
    if let Some(hint) = hint {
        let _ = writeln!(stderr, "  hint: {}", escape(hint));
    }
}

/// Tells what came of something that the daemon was asked to do, in its own words.
pub(crate) fn done<T: Serialize>(
    done: &Result<T, ClientError>,
    words: impl Fn(&T) -> &str,
    json: bool,
) -> Exit {
    match done {
        Ok(done) => {
            let _ = data(&match json {
                true => render::json::pretty(done),
                false => format!("{}\n", escape(words(done))),
            });
            Exit::Yes
        }
        Err(error) => client_error(error),
    }
}

/// Tells why the daemon gave no answer.
pub(crate) fn client_error(error: &ClientError) -> Exit {
    problem(&chain(error), error.hint().as_deref());
    Exit::from(error)
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_daemon_is_named_with_its_socket_and_the_reason() {
        let error = ClientError::Unreachable {
            socket: "/run/uplinkd/uplinkd.sock".into(),
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(
            chain(&error),
            "cannot reach uplinkd at /run/uplinkd/uplinkd.sock: No such file or directory (os error 2)"
        );
        assert_eq!(Exit::from(&error), Exit::Unreachable);
    }
}
