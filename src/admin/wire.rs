//! What crosses the administrator's socket: a request in one line of JSON, and the answer in many.
//!
//! Whoever connects sends one request and reads lines until [`Answer::End`] or [`Answer::Error`];
//! an answer without either was cut off. Milliseconds are of Unix time unless they are ages.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most bytes of a request: its longest part is a path.
pub const REQUEST_BYTES_MAX: usize = 32 * 1024;
/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Every claim, in [`Answer::Claim`]s.
    Locks(Which),
    /// Every client, in [`Answer::Client`]s.
    Clients,
    /// Release; answered by one [`Answer::Released`]. Refused where several clients are called so.
    Clear(Target),
    /// Close the grace window; answered by [`Answer::GraceEnded`].
    EndGrace,
    /// One [`Answer::Status`].
    Status,
}

/// Which claims are listed: those that all that is said here is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// On the file at this path of the server's machine.
    pub file: Option<PathText>,
    /// Of this client: its name, its address, or `name@address`.
    pub client: Option<String>,
}

/// What is to be released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// All of a client, on a file, or of a client on a file; not neither.
    All(Which),
    /// The one lock or waiting request whose id has these 8 or more digits in a row.
    Id(String),
}

/// A path, whatever its bytes: text where it is UTF-8, else its bytes as numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathText {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl From<&Path> for PathText {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }
}

impl From<PathText> for PathBuf {
    fn from(text: PathText) -> Self {
        match text {
            PathText::Text(text) => text.into(),
            PathText::Bytes(bytes) => OsString::from_vec(bytes).into(),
        }
    }
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// A lock, a share reservation, or a request that waits.
    Claim(Box<ClaimLine>),
    /// A client.
    Client(ClientLine),
    /// What a clear released.
    Released(Released),
    /// The grace window is closed.
    GraceEnded {
        /// Recorded locks that were reclaimed in it.
        reclaimed: u64,
        /// Recorded locks that were not, and are dropped.
        dropped: u64,
        /// Recorded locks that were not, and stand until their client is back or given up.
        kept: u64,
    },
    /// The server.
    Status(Box<StatusReport>),
    /// It cannot be done, and why: nothing follows.
    Error(String),
    /// That was all.
    End,
}

/// What kind of claim it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A held range.
    Lock,
    /// A share reservation.
    Share,
    /// A request for a range that waits.
    Request,
}

/// How firmly a claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its owner has it and knows.
    Held,
    /// Granted after a wait; its client has not yet said that it knows.
    Unacknowledged,
    /// On record since before a restart, and not reclaimed.
    Unreclaimed,
    /// It waits.
    Waiting,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimLine {
    /// The lock's uuid; a waiting request has the one that its lock will have. Shares have none.
    pub id: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// How firmly it stands.
    pub state: State,
    /// The file's path on the server; of a deleted file its last one, where that is known.
    pub path: Option<PathText>,
    /// Whether the file has no name any more.
    pub deleted: bool,
    /// Device and inode of a file whose names are not known at the moment.
    pub inode: Option<(u64, u64)>,
    /// What the lock table knows the file by, in hexadecimal.
    pub file: String,
    /// `shared` or `exclusive`; a share has none.
    pub mode: Option<String>,
    /// The first byte.
    pub offset: Option<u64>,
    /// How many bytes; 0 = to the end of the file, however far that moves.
    pub length: Option<u64>,
    /// Of a share, what its owner may do: `none`, `read`, `write` or `both`.
    pub access: Option<String>,
    /// Of a share, what nobody else may do, likewise.
    pub deny: Option<String>,
    /// Whose: the client, as `name@address`.
    pub client: String,
    /// The client's number for the process: its pid, or on Linux a number in place of that.
    pub svid: Option<u32>,
    /// The owner's whole name in the lock table.
    pub owner: String,
    /// The export it came through.
    pub export: String,
    /// Since when it is held or waits.
    pub since_ms: u64,
    /// How long that is.
    pub age_ms: u64,
    /// Of what waits, its place among those who wait for the same bytes: 1 is next; 1001 = that
    /// or further back.
    pub place: Option<u32>,
    /// Of what waits, whom it waits for: 16 at most.
    pub waits_for: Vec<Obstacle>,
    /// How many more there are; 1000 = that or more.
    pub waits_for_more: u32,
}

/// Whom somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obstacle {
    /// The lock, or the request ahead.
    pub id: String,
    /// Whether it waits itself.
    pub waiting: bool,
    /// Whose: the client, as `name@address`.
    pub client: String,
    /// The client's number for the process, as in [`ClaimLine`].
    pub svid: Option<u32>,
    /// The owner's whole name in the lock table.
    pub owner: String,
}

/// A client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientLine {
    /// As `name@address`.
    pub client: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// Where it calls from.
    pub address: Option<String>,
    /// Since when it is on record; a client that takes only unmonitored locks never is.
    pub since_ms: Option<u64>,
    /// When it last asked for anything; `None` = not since this server started.
    pub seen_ms: Option<u64>,
    /// Its NSM state, as it said with its last lock.
    pub nsm_state: Option<u32>,
    /// Locks it holds.
    pub locks: u64,
    /// Its share reservations.
    pub shares: u64,
    /// Its requests that wait.
    pub waiters: u64,
    /// Of its locks and shares, those on record since before a restart that it did not reclaim.
    pub unreclaimed: u64,
}

/// What a clear released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// Locks.
    pub locks: u64,
    /// Share reservations.
    pub shares: u64,
    /// Requests that waited.
    pub waiters: u64,
    /// The first hundred of them, as they were.
    pub claims: Vec<ClaimLine>,
}

/// The state of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started_ms: u64,
    /// How long that is.
    pub uptime_ms: u64,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Its own NSM state.
    pub nsm_state: i32,
    /// The grace window, while it is open.
    pub grace: Option<Grace>,
    /// What the lock table holds now, by name.
    pub now: BTreeMap<String, u64>,
    /// What happened since the start, by name.
    pub since_start: BTreeMap<String, u64>,
    /// How long those waited that got their lock after a wait.
    pub waits: Waits,
    /// The cache of answers to calls that may come twice.
    pub duplicates: Duplicates,
}

/// An open grace window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grace {
    /// How long it stays open at the most.
    pub left_ms: u64,
    /// Whether it closes as soon as nothing is left to reclaim.
    pub early_end: bool,
    /// Recorded locks and shares that were reclaimed.
    pub reclaimed: u64,
    /// Recorded locks and shares that were not yet.
    pub unreclaimed: u64,
}

/// A histogram of waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// How many there were.
    pub count: u64,
    /// How long they were together.
    pub sum_ms: u64,
    /// How many of them took at most so many milliseconds and longer than the one before allows;
    /// `None` = longer than all.
    pub buckets: Vec<(Option<u64>, u64)>,
}

/// The duplicate request cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Answers kept now.
    pub answers: u64,
    /// The most that are kept.
    pub answers_max: u64,
    /// Clients that they are of.
    pub clients: u64,
    /// Calls since the start that got the answer of a first one.
    pub repeated: u64,
}
