//! Command line entry point.

use std::process::ExitCode;

use clap::Parser;
use loadgen::args::Cli;

fn main() -> ExitCode {
    match loadgen::run(Cli::parse().mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}
