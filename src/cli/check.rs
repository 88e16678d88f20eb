//! `cleat check`: every mistake in a configuration file, before a server is started with it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{MISTAKEN, lines};
use crate::config::{Config, Draft};

/// Validate a configuration file: a line for each mistake, and status 2 if there is one.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The configuration, in TOML.
    file: PathBuf,
}

impl Check {
    pub(super) fn run(self) -> ExitCode {
        let mut stdout = std::io::stdout();
        match Config::load(Some(&self.file), Draft::default()) {
            Ok(_) => {
                let _ = writeln!(stdout, "{}: no mistakes", self.file.display());
                ExitCode::SUCCESS
            }
            Err(mistakes) => {
                let _ = stdout.write_all(lines(&mistakes).as_bytes());
                ExitCode::from(MISTAKEN)
            }
        }
    }
}
