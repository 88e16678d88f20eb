//! The commands of `cleat`: what is typed, and the status that each ends with.

mod ask;
mod check;
mod clients;
mod grace;
mod locks;
mod serve;
mod status;
mod text;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Mistake;

/// The status after a mistake of the one who typed or configured.
const MISTAKEN: u8 = 2;

/// An NFSv3 server whose locks hold.
#[derive(Debug, Parser)]
#[command(name = "cleat", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Check(check::Check),
    Locks(locks::Locks),
    Clients(clients::Clients),
    Grace(grace::Grace),
    Status(status::Status),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli { command }) => match command {
            Command::Serve(serve) => serve.run(),
            Command::Check(check) => check.run(),
            Command::Locks(locks) => locks.run(),
            Command::Clients(clients) => clients.run(),
            Command::Grace(grace) => grace.run(),
            Command::Status(status) => status.run(),
        },
        Err(error) if error.use_stderr() => {
            complain(&one_line(&error));
            ExitCode::from(MISTAKEN)
        }
        Err(help) => {
            let _ = help.print();
            ExitCode::SUCCESS
        }
    }
}

/// What is wrong with the flags, without clap's paragraphs on how it might have been meant.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command; see cleat --help".to_owned();
    }
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = paragraph.split_whitespace().collect();
    let line = words.join(" ");
    format!("{}; see cleat --help", line.strip_prefix("error: ").unwrap_or(&line))
}

/// Writes a line to stderr; where that is closed there is nobody left to tell.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "cleat: {line}");
}

/// A mistake for each line.
fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}
