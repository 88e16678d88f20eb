//! `cleat clients`: whom the server knows, and how they stand.

use std::io::{BufWriter, stdout};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use super::ask::{JsonArray, Server, Trouble, end, say, unexpected};
use super::text::{age, aligned, printable};
use crate::admin::wire::{Answer, ClientLine, Request};

/// Show the clients that the server knows.
#[derive(Debug, Args)]
pub(super) struct Clients {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Clients {
    pub(super) fn run(self) -> ExitCode {
        end(self.list())
    }

    fn list(&self) -> Result<(), Trouble> {
        let mut out = BufWriter::new(stdout());
        if self.json {
            let mut array = JsonArray::new(out);
            self.server.ask(&Request::Clients, |answer| match answer {
                Answer::Client(client) => array.add(&client),
                _ => Err(unexpected()),
            })?;
            return array.end();
        }
        let mut clients = Vec::new();
        self.server.ask(&Request::Clients, |answer| match answer {
            Answer::Client(client) => {
                clients.push(client);
                Ok(())
            }
            _ => Err(unexpected()),
        })?;
        if clients.is_empty() {
            return say(&mut out, "no clients\n");
        }
        clients.sort_by(|a: &ClientLine, b| a.client.cmp(&b.client));
        let header =
            ["KNOWN", "SEEN", "LOCKS", "SHARES", "WAITS", "UNRECLAIMED", "STATE", "CLIENT"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(clients.iter().map(row));
        aligned(&rows).iter().try_for_each(|line| say(&mut out, &format!("{line}\n")))
    }
}

fn row(client: &ClientLine) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let ago = |at_ms: Option<u64>| {
        at_ms.map_or_else(|| "-".to_owned(), |at_ms| age(now_ms.saturating_sub(at_ms)))
    };
    vec![
        ago(client.since_ms),
        ago(client.seen_ms),
        client.locks.to_string(),
        client.shares.to_string(),
        client.waiters.to_string(),
        client.unreclaimed.to_string(),
        client.nsm_state.map_or_else(|| "-".to_owned(), |state| state.to_string()),
        printable(&client.client),
    ]
}
