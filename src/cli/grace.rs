//! `cleat grace end`: opens the server to new locks without waiting for those on record.

use std::io::stdout;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ask::{Server, Trouble, end, say, unexpected};
use super::text::count;
use crate::admin::wire::{Answer, Request};

/// End the grace period after a restart.
#[derive(Debug, Args)]
pub(super) struct Grace {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// End it now: new locks are granted. Locks on record that were not reclaimed are dropped where
    /// the server keeps none for clients out of reach (`unreachable_hold_s = 0`).
    End,
}

impl Grace {
    pub(super) fn run(self) -> ExitCode {
        let Action::End = self.action;
        end(self.end())
    }

    fn end(&self) -> Result<(), Trouble> {
        let answer = self.server.ask_one(&Request::EndGrace)?;
        let Answer::GraceEnded { reclaimed, dropped, kept } = answer else {
            return Err(unexpected());
        };
        let locks = count(reclaimed, "lock was", "locks were");
        let text = format!(
            "grace ended: {locks} reclaimed, {dropped} dropped, {kept} kept for clients out of reach\n"
        );
        say(&mut stdout(), &text)
    }
}
