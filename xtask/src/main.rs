//! Commands for those who work on uplinkd: `cargo xtask COMMAND`.

mod bench;
mod bpf;
mod demo;
mod node;
mod python;
mod setup;
mod tests;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Commands for those who work on uplinkd")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build, and show the main job in a laboratory on this machine. Needs no root.
    Demo {
        /// What `uplink-lab demo` takes; see `cargo xtask demo -- --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run everything that must hold: house rules, format, lints, all tests, documentation.
    Test,
    /// Check the house rules alone.
    Tidy,
    /// Compile the program for the kernel that watches TCP connections. Needs clang; the result is
    /// committed, so that only those who change it need one.
    Bpf,
    /// Measure, in a laboratory of network namespaces on this machine.
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Run the end-to-end tests in a virtual machine, under the kernels that most routers run.
    Vm(vm::Vm),
}

fn main() -> ExitCode {
    let Args { command } = Args::parse();
    let result = match command {
        Command::Bench { what } => bench::run(&what),
        Command::Bpf => bpf::compile().map(|()| ExitCode::SUCCESS),
        Command::Demo { arguments } => demo::run(&arguments),
        Command::Test => tests::run().map(|()| ExitCode::SUCCESS),
        Command::Vm(vm) => vm::run(&vm).map(|()| ExitCode::SUCCESS),
        Command::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            bench::print::talk(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}
