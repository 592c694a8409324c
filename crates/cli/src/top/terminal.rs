//! Takes the terminal for a whole screen, and gives it back.

use std::{
    env,
    io::{self, IsTerminal},
};

use ratatui::{DefaultTerminal, Frame};

/// Why there can be no whole screen.
pub(super) struct Unfit(pub(super) String);

/// The terminal, as long as it is ours. Given back when this is dropped; in a panic before its words
/// are printed, by the hook that taking it has set.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Takes it.
    pub(super) fn take() -> Result<Self, Unfit> {
        let unfit = |why: &str| Err(Unfit(why.to_owned()));
        if !io::stdout().is_terminal() {
            return unfit("what it prints goes elsewhere");
        }
        if !io::stdin().is_terminal() {
            return unfit("there is none to read keys from");
        }
        // A program that only prints, such as an editor's shell.
        if env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb") {
            return unfit("this one can only print (TERM)");
        }
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                let _ = ratatui::try_restore();
                unfit(&error.to_string())
            }
        }
    }

    /// Shows a picture.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(picture).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}
