//! What is wrong, where, and what to do about it.

use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, but probably does not do what its author wants.
    Warning,
}

impl Severity {
    /// The word that people and scripts read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Another place of the text that belongs to a diagnostic, such as the first of two namesakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The place, in bytes of the text.
    pub span: Range<usize>,
    /// What is to be seen there.
    pub text: String,
}

/// A line of another file than the one that is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file's path.
    pub path: String,
    /// The line's number, from 1.
    pub line: usize,
    /// The line, without its end.
    pub text: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The place, in bytes of the text, or of the excerpt's where there is one. Places outside the
    /// text are moved into it when shown.
    pub span: Range<usize>,
    /// The line that the mistake stands in, where that is in a file of prefixes; notes are about the
    /// text all the same.
    pub excerpt: Option<Excerpt>,
    /// Which object, and why: lower case, no full stop.
    pub message: String,
    /// A word or two that stand under the underlined text; may be empty.
    pub label: String,
    /// The remedy.
    pub hint: Option<String>,
    /// Other places that belong to it.
    pub notes: Vec<Note>,
}

impl Diagnostic {
    /// A mistake that makes the file unusable.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            span,
            excerpt: None,
            message: message.into(),
            label: String::new(),
            hint: None,
            notes: Vec::new(),
        }
    }

    /// A doubt; the file is usable.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(span, message)
        }
    }

    /// Moves the place into a line of another file.
    #[must_use]
    pub fn in_excerpt(mut self, excerpt: Excerpt) -> Self {
        self.excerpt = Some(excerpt);
        self
    }

    /// Sets what stands under the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn note(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.notes.push(Note {
            span,
            text: text.into(),
        });
        self
    }
}
