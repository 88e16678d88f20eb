//! Asks a server that runs: finds its socket, sends the request, reads the lines of the answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{MISTAKEN, complain, lines};
use crate::admin::connect;
use crate::admin::wire::{Answer, Request};
use crate::config::draft::absolute;
use crate::config::{Config, Place, Said};

/// Which server is asked.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server's state directory [default: as for serve]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// Read the state directory from the server's configuration file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// Why a command ends without an answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The user's mistakes, a line each.
    Mistaken(String),
    /// Anything else, in one line.
    Failed(String),
    /// Nobody reads what we write.
    Unread,
}

impl Trouble {
    /// A write to stdout failed.
    fn from_write(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::Failed(format!("cannot write: {error}"))
    }
}

/// Ends a command as its outcome says: with 0, 1 (it could not be done) or 2 (a mistake of the
/// user's).
pub(super) fn end(outcome: Result<(), Trouble>) -> ExitCode {
    match outcome {
        Ok(()) | Err(Trouble::Unread) => ExitCode::SUCCESS,
        Err(Trouble::Mistaken(text)) => {
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(MISTAKEN)
        }
        Err(Trouble::Failed(text)) => {
            complain(&text);
            ExitCode::FAILURE
        }
    }
}

/// Writes to stdout.
pub(super) fn say(out: &mut impl Write, text: &str) -> Result<(), Trouble> {
    out.write_all(text.as_bytes()).map_err(|error| Trouble::from_write(&error))
}

impl Server {
    /// Sends a request and hands each line of the answer to `take`.
    pub(super) fn ask(
        &self,
        request: &Request,
        mut take: impl FnMut(Answer) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let mut stream = self.connect()?;
        let mut line = serde_json::to_vec(request).map_err(|error| failed(&error))?;
        line.push(b'\n');
        // A server that refuses before it has read all of it has said why.
        let sent = stream.write_all(&line);
        for line in BufReader::new(stream).lines() {
            let line = line.map_err(|error| failed(&error))?;
            match serde_json::from_str(&line).map_err(|error| failed(&error))? {
                Answer::End => return Ok(()),
                Answer::Error(text) => return Err(Trouble::Failed(text)),
                answer => take(answer)?,
            }
        }
        sent.map_err(|error| failed(&error))?;
        Err(Trouble::Failed("the server ended before its answer did".to_owned()))
    }

    fn connect(&self) -> Result<UnixStream, Trouble> {
        let said = |dir: &PathBuf| Said::new(Place::Flag("--state-dir"), absolute(dir));
        let dir = Config::state_dir(self.config.as_deref(), self.state_dir.as_ref().map(said))
            .map_err(|mistakes| Trouble::Mistaken(lines(&mistakes)))?;
        connect(&dir).map_err(|error| {
            let dir = dir.display();
            Trouble::Failed(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                    "no server runs on state directory {dir}; give the one it has with --state-dir"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "state directory {dir}: only root and the user who runs the server may ask it"
                ),
                _ => format!("state directory {dir}: {error}"),
            })
        })
    }

    /// Asks what has one line for an answer.
    pub(super) fn ask_one(&self, request: &Request) -> Result<Answer, Trouble> {
        let mut found = None;
        self.ask(request, |answer| {
            found = Some(answer);
            Ok(())
        })?;
        found.ok_or_else(unexpected)
    }
}

fn failed(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::Failed(format!("the server's answer: {error}"))
}

/// An answer to another question: of another version perhaps.
pub(super) fn unexpected() -> Trouble {
    Trouble::Failed("the server's answer is not understood: is it of this version?".to_owned())
}

/// Writes values as one JSON array, each as it comes.
#[derive(Debug)]
pub(super) struct JsonArray<W: Write> {
    out: W,
    empty: bool,
}

impl<W: Write> JsonArray<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, empty: true }
    }

    pub(super) fn add(&mut self, value: &impl serde::Serialize) -> Result<(), Trouble> {
        let text = serde_json::to_string(value).map_err(|error| failed(&error))?;
        let before = if self.empty { "[\n" } else { ",\n" };
        self.empty = false;
        say(&mut self.out, before)?;
        say(&mut self.out, &text)
    }

    pub(super) fn end(mut self) -> Result<(), Trouble> {
        say(&mut self.out, if self.empty { "[]\n" } else { "\n]\n" })?;
        self.out.flush().map_err(|error| Trouble::from_write(&error))
    }
}

/// Writes one value as JSON.
pub(super) fn say_json(value: &impl serde::Serialize) -> Result<(), Trouble> {
    let text = serde_json::to_string_pretty(value).map_err(|error| failed(&error))?;
    say(&mut io::stdout(), &format!("{text}\n"))
}
