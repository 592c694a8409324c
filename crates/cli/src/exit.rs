//! Exit codes, the same for all our programs.

use std::process::ExitCode;

use uplinkd_api::ClientError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The answer is yes, or there was no question.
    Yes = 0,
    /// The answer is no: the internet is down, the destination cannot be reached.
    No = 1,
    /// The command line makes no sense, to us or to the daemon.
    Usage = 2,
    /// There is no daemon, or none that answers.
    Unreachable = 3,
    /// The daemon did not do it: whoever asks may not.
    NotApplied = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Refused { status: 403, .. } => Self::NotApplied,
            ClientError::Refused { status: 409, .. } => Self::No,
            ClientError::Refused { status, .. } if (400..500).contains(status) => Self::Usage,
            ClientError::Refused { .. }
            | ClientError::Unreachable { .. }
            | ClientError::Silent { .. }
            | ClientError::Broken { .. }
            | ClientError::BadReply { .. } => Self::Unreachable,
        }
    }
}
