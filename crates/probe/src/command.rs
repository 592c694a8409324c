//! A user's program: it is run, and what it ends with is the answer.
//!
//! It knows what it tests by its environment: `UPLINK`, `FAMILY`, `DEVICE`, `MARK` and `SOURCE`.

use std::time::Duration;

use tokio::process::Command;
use uplinkd_model::{Family, Question, target::Program};

use crate::{line::Line, program};

/// Runs a program: how long it took, or what is wrong.
pub(crate) async fn run(
    line: &Line,
    question: &Question,
    program: &Program,
) -> Result<Duration, String> {
    let command = prepared(line, question, program)?;
    let ended = program::run(command, Vec::new(), program.limit).await?;
    match ended.status.success() {
        true => Ok(ended.took),
        false => Err(ended.told()),
    }
}

fn prepared(line: &Line, question: &Question, program: &Program) -> Result<Command, String> {
    let (path, arguments) = program.words.split_first().ok_or("no program")?;
    let mut command = program::command(path, program.user.as_deref())?;
    command
        .args(arguments)
        .env("UPLINK", line.uplink.as_str())
        .env("DEVICE", &line.device)
        .env(
            "FAMILY",
            match line.family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            },
        );
    if let Some(mark) = line.mark {
        command.env("MARK", format!("{mark:#x}"));
    }
    if let Some(source) = question.source {
        command.env("SOURCE", source.to_string());
    }
    Ok(command)
}

#[cfg(test)]
mod tests;
