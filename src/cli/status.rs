//! `cleat status`: how the server is, in figures.

use std::collections::BTreeMap;
use std::io::stdout;
use std::process::ExitCode;

use clap::Args;

use super::ask::{Server, Trouble, end, say, say_json, unexpected};
use super::text::{age, aligned, count, printable};
use crate::admin::wire::{Answer, Request, StatusReport, Waits};

/// Show the server's version, grace period, counters and caches.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Status {
    pub(super) fn run(self) -> ExitCode {
        end(self.show())
    }

    fn show(&self) -> Result<(), Trouble> {
        let Answer::Status(report) = self.server.ask_one(&Request::Status)? else {
            return Err(unexpected());
        };
        if self.json {
            return say_json(&report);
        }
        let lines = aligned(&rows(&report));
        lines.iter().try_for_each(|line| say(&mut stdout(), &format!("{line}\n")))
    }
}

fn rows(report: &StatusReport) -> Vec<Vec<String>> {
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let mut rows = vec![
        row("server", format!("cleat {}, process {}", printable(&report.version), report.pid)),
        row("up", age(report.uptime_ms)),
        row("listens on", printable(&report.listen.join(" "))),
        row("NSM state", report.nsm_state.to_string()),
        row("grace", grace(report)),
    ];
    let mut list = |title: &str, counts: &BTreeMap<String, u64>, all: bool| {
        let shown = counts.iter().filter(|(_, count)| all || **count > 0);
        let mut title = title;
        for (name, number) in shown {
            rows.push(row(title, format!("{number} {}", printable(&name.replace('_', " ")))));
            title = "";
        }
    };
    list("now", &report.now, true);
    list("since the start", &report.since_start, false);
    rows.push(row("waits", waits(&report.waits)));
    let cache = &report.duplicates;
    rows.push(row(
        "answers kept",
        format!(
            "{}, of {}; {} at most; {}",
            cache.answers,
            count(cache.clients, "client", "clients"),
            cache.answers_max,
            count(cache.repeated, "call was a repetition", "calls were repetitions"),
        ),
    ));
    rows
}

fn grace(report: &StatusReport) -> String {
    let Some(grace) = &report.grace else {
        return "closed".to_owned();
    };
    let left = age(grace.left_ms);
    let how = if grace.early_end { ", or until all is reclaimed" } else { "" };
    let (reclaimed, unreclaimed) = (grace.reclaimed, grace.unreclaimed);
    format!("open for {left} at most{how}: {reclaimed} reclaimed, {unreclaimed} left")
}

/// The histogram in one line: how many took at most how long.
fn waits(waits: &Waits) -> String {
    let mut parts = Vec::new();
    for (up_to_ms, number) in waits.buckets.iter().filter(|(_, number)| *number > 0) {
        parts.push(match up_to_ms {
            Some(up_to_ms) => format!("{number} up to {}", milliseconds(*up_to_ms)),
            None => format!("{number} longer"),
        });
    }
    let Some(mean_ms) = waits.sum_ms.checked_div(waits.count) else {
        return "none".to_owned();
    };
    format!("{} on average: {}", milliseconds(mean_ms), parts.join(", "))
}

fn milliseconds(number: u64) -> String {
    if number < 1000 { format!("{number}ms") } else { age(number) }
}
