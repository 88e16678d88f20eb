//! `cleat locks` and `cleat locks clear`: who holds and awaits what, and releasing it.

use std::io::{BufWriter, Stdout, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ask::{JsonArray, Server, Trouble, end, say, say_json, unexpected};
use super::text::{age, aligned, count, path, printable};
use crate::admin::wire::{
    Answer, ClaimLine, Kind, Obstacle, PathText, Released, Request, State, Target, Which,
};
use crate::config::draft::absolute;

/// The most rows that are sorted and aligned together; more come in several such parts.
const ROWS_MAX: usize = 100_000;
/// The most of those a request waits for that people are told.
const OBSTACLES_SHOWN: usize = 4;
/// Of a lock's uuid, the digits that tell it from others, pieces of one lock included.
const ID_SHOWN: std::ops::Range<usize> = 16..24;

/// Show who holds and awaits locks, or release them.
#[derive(Debug, Args)]
pub(super) struct Locks {
    /// Only those on the file at this path of this machine
    #[arg(long, value_name = "PATH", global = true)]
    file: Option<PathBuf>,
    /// Only those of this client: its name, its address, or NAME@ADDRESS
    #[arg(long, value_name = "CLIENT", global = true)]
    client: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Release what --client, --file or both name, or the one lock of an id.
    ///
    /// Who waits for it gets it. The client that held it is not told, because NFSv3 has no way to:
    /// make sure that the process there is gone.
    Clear {
        /// The id of a lock or a waiting request, or 8 or more of its digits
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
}

impl Locks {
    pub(super) fn run(self) -> ExitCode {
        end(match &self.action {
            Some(Action::Clear { id }) => self.clear(id.clone()),
            None => self.list(),
        })
    }

    fn which(&self) -> Which {
        let file = self.file.as_ref().map(|path| PathText::from(&*absolute(path)));
        Which { file, client: self.client.clone() }
    }

    fn list(&self) -> Result<(), Trouble> {
        let out = BufWriter::new(stdout());
        let request = Request::Locks(self.which());
        if self.json {
            let mut array = JsonArray::new(out);
            self.server.ask(&request, |answer| match answer {
                Answer::Claim(claim) => array.add(&claim),
                _ => Err(unexpected()),
            })?;
            return array.end();
        }
        let mut table = Table { out, rows: Vec::new(), parts: 0 };
        self.server.ask(&request, |answer| match answer {
            Answer::Claim(claim) => table.add(*claim),
            _ => Err(unexpected()),
        })?;
        table.end()
    }

    fn clear(&self, id: Option<String>) -> Result<(), Trouble> {
        let is_named = self.file.is_some() || self.client.is_some();
        let target = match id {
            // clap would not see those that stand before the word clear.
            Some(_) if is_named => {
                return Err(mistaken("--id names one lock: leave out --client and --file"));
            }
            Some(id) => Target::Id(id),
            None if is_named => Target::All(self.which()),
            None => return Err(mistaken("say what to clear: --client, --file or --id")),
        };
        let Answer::Released(released) = self.server.ask_one(&Request::Clear(target))? else {
            return Err(unexpected());
        };
        if self.json { say_json(&released) } else { say_released(released) }
    }
}

fn mistaken(what: &str) -> Trouble {
    Trouble::Mistaken(format!("cleat: {what}; see cleat --help\n"))
}

fn say_released(released: Released) -> Result<(), Trouble> {
    let Released { locks, shares, waiters, claims } = released;
    let named = claims.len() as u64;
    let mut table = Table { out: BufWriter::new(stdout()), rows: claims, parts: 0 };
    table.flush()?;
    let more = (locks + shares + waiters).saturating_sub(named);
    if more > 0 {
        say(&mut table.out, &format!("... and {more} more\n"))?;
    }
    let mut what = Vec::new();
    for (number, one, many) in [
        (locks, "lock", "locks"),
        (shares, "share reservation", "share reservations"),
        (waiters, "waiting request", "waiting requests"),
    ] {
        if number > 0 {
            what.push(count(number, one, many));
        }
    }
    say(&mut table.out, &format!("released {}\n", what.join(", ")))
}

/// Claims for people, by file.
struct Table {
    out: BufWriter<Stdout>,
    rows: Vec<ClaimLine>,
    parts: usize,
}

impl Table {
    fn add(&mut self, claim: ClaimLine) -> Result<(), Trouble> {
        self.rows.push(claim);
        if self.rows.len() < ROWS_MAX {
            return Ok(());
        }
        self.flush()
    }

    fn end(mut self) -> Result<(), Trouble> {
        self.flush()?;
        if self.parts == 0 {
            say(&mut self.out, "no locks\n")?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        if self.rows.is_empty() {
            return Ok(());
        }
        self.parts += 1;
        let mut claims = std::mem::take(&mut self.rows);
        claims.sort_by_cached_key(|claim| {
            let waits = claim.kind == Kind::Request;
            (title(claim), claim.file.clone(), waits, claim.offset, claim.since_ms)
        });
        let header = ["ID", "STATE", "MODE", "RANGE", "AGE", "SVID", "CLIENT"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        rows.extend(claims.iter().map(row));
        let lines = aligned(&rows);
        let (header, lines) = lines.split_first().ok_or_else(unexpected)?;
        say(&mut self.out, &format!("{header}\n"))?;
        let mut file = None;
        for (claim, line) in claims.iter().zip(lines) {
            if file != Some(&claim.file) {
                say(&mut self.out, &format!("{}\n", title(claim)))?;
                file = Some(&claim.file);
            }
            say(&mut self.out, &format!("{line}\n"))?;
            for obstacle in obstacles(claim) {
                say(&mut self.out, &format!("          {obstacle}\n"))?;
            }
        }
        Ok(())
    }
}

/// What the file is called.
fn title(claim: &ClaimLine) -> String {
    match (&claim.path, claim.deleted, claim.inode) {
        (Some(at), false, _) => path(at),
        (Some(at), true, _) => format!("{} (deleted)", path(at)),
        (None, true, _) => "(deleted)".to_owned(),
        (None, false, Some((device, inode))) => {
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            format!("(inode {inode} of device {major}:{minor})")
        }
        (None, false, None) => format!("(file {})", printable(&claim.file)),
    }
}

fn row(claim: &ClaimLine) -> Vec<String> {
    let state = match (claim.state, claim.place) {
        (State::Held, _) => "held".to_owned(),
        (State::Unacknowledged, _) => "granted".to_owned(),
        (State::Unreclaimed, _) => "unreclaimed".to_owned(),
        (State::Waiting, place) => format!("waits #{}", place.unwrap_or_default()),
    };
    let (mode, range) = match (&claim.access, &claim.deny) {
        (Some(access), Some(deny)) => ("share".to_owned(), format!("{access}, deny {deny}")),
        _ => (claim.mode.clone().unwrap_or_default(), range(claim.offset, claim.length)),
    };
    vec![
        claim.id.as_deref().map_or_else(|| "-".to_owned(), short),
        state,
        mode,
        range,
        age(claim.age_ms),
        claim.svid.map_or_else(|| "-".to_owned(), |svid| svid.to_string()),
        printable(&claim.client),
    ]
}

fn range(offset: Option<u64>, length: Option<u64>) -> String {
    let offset = offset.unwrap_or_default();
    match length.unwrap_or_default() {
        0 => format!("{offset}-EOF"),
        length => format!("{offset}-{}", offset.saturating_add(length - 1)),
    }
}

/// The part of an id that people read and type.
fn short(id: &str) -> String {
    let digits: String = id.chars().filter(|one| *one != '-').collect();
    digits.get(ID_SHOWN).map_or_else(|| printable(id), printable)
}

fn obstacles(claim: &ClaimLine) -> Vec<String> {
    let mut lines: Vec<String> =
        claim.waits_for.iter().take(OBSTACLES_SHOWN).map(waits_for).collect();
    let unnamed = claim.waits_for.len().saturating_sub(OBSTACLES_SHOWN) as u64;
    let more = unnamed + u64::from(claim.waits_for_more);
    if more > 0 {
        lines.push(format!("and for {more} more"));
    }
    lines
}

fn waits_for(obstacle: &Obstacle) -> String {
    let Obstacle { id, waiting, client, svid, .. } = obstacle;
    let svid = svid.map(|svid| format!(" svid {svid}")).unwrap_or_default();
    let how = if *waiting { ", which came before" } else { "" };
    format!("waits for {} of {}{svid}{how}", short(id), printable(client))
}
