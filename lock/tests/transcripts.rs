//! Runs the transcripts in `tests/transcripts`: text files in which each request is followed by
//! what the core does about it. `CLEAT_BLESS=1 cargo test -p cleat-lock --test transcripts` writes
//! what the core does now into the files, to be reviewed as a diff.
//!
//! A line that begins with a blank is an effect, one that begins with `#` is text, any other is a
//! request:
//!
//! ```text
//! OWNER lock|upgrade FILE FIRST-LAST [shared|exclusive] [wait [timeout MS]] [reclaim] [state N]
//! OWNER unlock|test|cancel FILE FIRST-LAST [shared|exclusive]
//! OWNER share FILE ACCESS deny ACCESS [reclaim] [state N]      OWNER unshare FILE
//! OWNER accepts|refuses               the owner's foremost unacknowledged grant
//! client NAME free|restarted N|registers|disconnected|forgotten|reached|silent
//! clear client NAME [FILE]    clear file FILE     clear lock|request OWNER FILE FIRST-LAST
//! clock +MS          server restarts exact|advice          grace ends
//! limit NAME N       records shown|hidden                  show FILE         who blocks
//! recovery strict|instant hold MS
//! ```
//!
//! The mode is exclusive where none is said, `EOF` is the end of the file, and the client of owner
//! `a/1` is `a`. Every step's durable image is compared with the core's own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use cleat_lock::{
    Access, Clear, Cleared, Config, Conflict, Effect, FileId, GraceEvent, GrantAck, Input,
    LockRecord, LockRequest, Mode, Outcome, Range, Record, RecordKey, RecordOp, Recovery,
    ShareRequest, Taken, UpgradeRequest, Wait, WaitEnd,
};
use common::{Desk, S, X, file, image_of, owner};

const GRACE_MS: u64 = 90_000;

fn mode(mode: Mode) -> &'static str {
    if mode == S { "shared" } else { "exclusive" }
}

fn access(access: Access) -> &'static str {
    ["none", "read", "write", "both"][access as usize]
}

fn range(range: Range) -> String {
    match range.last() {
        u64::MAX => format!("{}-EOF", range.first()),
        last => format!("{}-{last}", range.first()),
    }
}

fn name(file: &FileId) -> String {
    String::from_utf8_lossy(file.as_bytes()).into_owned()
}

/// The words of one request, in the order of the grammar above.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn next(&mut self) -> &'a str {
        assert!(!self.0.is_empty(), "a word is missing");
        self.0.remove(0)
    }

    /// Whether the word is there; takes it.
    fn has(&mut self, word: &str) -> bool {
        let at = self.0.iter().position(|&other| other == word);
        at.is_some_and(|at| self.0.remove(at) == word)
    }

    /// The number after the word, where it is there.
    fn number(&mut self, word: &str) -> Option<u64> {
        let at = self.0.iter().position(|&other| other == word)?;
        self.0.remove(at);
        Some(self.0.remove(at).parse().unwrap())
    }

    fn range(&mut self) -> Range {
        let (first, last) = self.next().split_once('-').expect("a range");
        let last = if last == "EOF" { u64::MAX } else { last.parse().unwrap() };
        Range::between(first.parse().unwrap(), last).unwrap()
    }

    fn mode(&mut self) -> Mode {
        let shared = self.has("shared");
        let exclusive = self.has("exclusive");
        assert!(!(shared && exclusive));
        if shared { S } else { X }
    }

    fn access(&mut self) -> Access {
        let word = self.next();
        Access::ALL.into_iter().find(|&kind| access(kind) == word).expect("an access")
    }

    fn wait(&mut self) -> Option<Wait> {
        let timeout_ms = Some(self.number("timeout").unwrap_or(0));
        let context = Arc::from(&b"callback"[..]);
        self.has("wait").then_some(Wait { context, silence_ms: 0, timeout_ms, find_deadlock: true })
    }
}

/// One transcript's core and what is shown of it.
struct Run {
    desk: Desk,
    tokens: u64,
    records: bool,
}

impl Run {
    fn token(&mut self) -> cleat_lock::Token {
        self.tokens += 1;
        cleat_lock::Token(self.tokens)
    }

    /// What the core does about one line.
    fn line(&mut self, line: &str) -> Vec<String> {
        let mut words = Words(line.split_whitespace().collect());
        let who = words.next();
        let said = match who {
            "limit" => {
                let (which, maximum) = (words.next(), words.next().parse().unwrap());
                self.limit(which, maximum);
                vec![]
            }
            "records" => {
                self.records = words.next() == "shown";
                vec![]
            }
            "recovery" => {
                let recovery =
                    if words.has("instant") { Recovery::Instant } else { Recovery::Strict };
                assert!(recovery == Recovery::Instant || words.has("strict"));
                let unreachable_hold_ms = words.number("hold").unwrap_or(0);
                assert_eq!(self.tokens, 0, "settings come before requests");
                let config = self.desk.config.clone();
                self.desk = Desk::with(Config { recovery, unreachable_hold_ms, ..config });
                vec![]
            }
            "who" => {
                assert!(words.has("blocks"));
                let blocking = self.desk.core.blocking_clients(1_000).into_iter();
                blocking.map(|client| client.client_id.to_string()).collect()
            }
            "show" => self.show(words.next()),
            "clock" => {
                self.desk.now_ms += words.next().parse::<u64>().unwrap();
                self.step("", Input::Tick)
            }
            "server" => {
                assert!(words.has("restarts"));
                let exact = words.next() == "exact";
                let (config, now_ms) = (self.desk.config.clone(), self.desk.now_ms);
                let records = self.desk.records();
                self.desk.core =
                    cleat_lock::Core::restore(config, now_ms, records, GRACE_MS, exact);
                self.step("", Input::Tick)
            }
            "grace" => {
                assert!(words.has("ends"));
                let token = self.token();
                self.step("grace", Input::EndGrace { token })
            }
            "clear" => {
                let input = self.clear(&mut words);
                self.step("clear", input)
            }
            "client" => {
                let client = words.next();
                let input = self.of_client(client, &mut words);
                self.step(client, input)
            }
            who => {
                let input = self.of_owner(who, &mut words);
                self.step(who, input)
            }
        };
        assert_eq!(words.0, Vec::<&str>::new(), "not understood: {line}");
        said
    }

    fn limit(&mut self, which: &str, maximum: u64) {
        let mut config = Config { ..self.desk.config.clone() };
        let limits = &mut config.limits;
        *match which {
            "locks_per_file" => &mut limits.locks_per_file,
            "locks_per_client" => &mut limits.locks_per_client,
            "locks_total" => &mut limits.locks_total,
            "waiters_per_file" => &mut limits.waiters_per_file,
            "waiters_per_client" => &mut limits.waiters_per_client,
            "shares_per_file" => &mut limits.shares_per_file,
            "clients" => &mut limits.clients,
            other => panic!("no limit: {other}"),
        } = maximum;
        assert_eq!(self.tokens, 0, "limits come before requests");
        self.desk = Desk::with(config);
    }

    fn of_client(&mut self, client: &str, words: &mut Words<'_>) -> Input {
        let (token, client_id) = (self.token(), Arc::from(client));
        match words.next() {
            "free" => Input::FreeAll { token, client_id },
            "restarted" => {
                let incarnation = words.next().parse().unwrap();
                Input::ClientRestarted { token, client_id, incarnation }
            }
            "registers" => {
                let contact = Arc::from(&b"address"[..]);
                Input::Register { token, client_id, incarnation: 1, contact }
            }
            "disconnected" => Input::Disconnected { client_id },
            "reached" => Input::ClientReached { client_id },
            "silent" => Input::ClientSilent { client_id, since_ms: self.desk.now_ms },
            "forgotten" => Input::ForgetClient { token, client_id },
            other => panic!("no order: {other}"),
        }
    }

    /// An administrator's order. What it names by its place is looked up as a listing would.
    fn clear(&mut self, words: &mut Words<'_>) -> Input {
        let (token, id) = (self.token(), self.desk.fresh_id());
        let what = match words.next() {
            "client" => match (Arc::from(words.next()), words.0.pop()) {
                (client, Some(on)) => Clear::ClientOnFile(client, file(on)),
                (client, None) => Clear::Client(client),
            },
            "file" => Clear::File(file(words.next())),
            "lock" => {
                let (owner, file, range) = (owner(words.next()), file(words.next()), words.range());
                let mut locks = self.desk.core.locks();
                let named = |lock: &LockRecord| lock.owner.is(&owner) && lock.range == range;
                let lock = locks.find(named).expect("a lock").id;
                Clear::Lock { lock, owner, file, range }
            }
            "request" => {
                let (owner, range) = (owner(words.next()), (words.next(), words.range()).1);
                let mut waiters = self.desk.core.waiters();
                let found = waiters.find(|one| one.owner.is(&owner) && one.range == range);
                Clear::Waiter(found.expect("a request").waiter)
            }
            other => panic!("nothing to clear: {other}"),
        };
        Input::Clear { token, id, what }
    }

    fn of_owner(&mut self, who: &str, words: &mut Words<'_>) -> Input {
        let (verb, token, owner) = (words.next(), self.token(), owner(who));
        if let Some(outcome) = match verb {
            "accepts" => Some(GrantAck::Accepted),
            "refuses" => Some(GrantAck::Refused),
            _ => None,
        } {
            let mut waiters = self.desk.core.waiters();
            let told = waiters.find(|w| w.granted.is_some() && w.owner.is(&owner));
            return Input::GrantOutcome { waiter: told.expect("a grant").waiter, outcome };
        }
        let (id, file) = (self.desk.fresh_id(), file(words.next()));
        let incarnation = u32::try_from(words.number("state").unwrap_or(1)).unwrap();
        let reclaim = words.has("reclaim");
        let contact: Arc<[u8]> = Arc::from(&b""[..]);
        match verb {
            "share" => {
                let access = words.access();
                assert!(words.has("deny"));
                let deny = words.access();
                Input::Share(ShareRequest {
                    token,
                    owner,
                    file,
                    access,
                    deny,
                    reclaim,
                    incarnation,
                    contact,
                })
            }
            "unshare" => Input::Unshare { token, owner, file },
            verb => {
                let (range, wait, mode) = (words.range(), words.wait(), words.mode());
                match verb {
                    "lock" => Input::Lock(LockRequest {
                        token,
                        id,
                        owner,
                        file,
                        range,
                        mode,
                        wait,
                        reclaim,
                        incarnation,
                        contact,
                    }),
                    "upgrade" => Input::Upgrade(UpgradeRequest {
                        token,
                        id,
                        owner,
                        file,
                        range,
                        wait,
                        incarnation,
                        contact,
                    }),
                    "unlock" => Input::Unlock { token, id, owner, file, range },
                    "test" => Input::Test { token, owner, file, range, mode },
                    "cancel" => Input::Cancel { token, owner, file, range, mode },
                    other => panic!("no request: {other}"),
                }
            }
        }
    }

    fn step(&mut self, who: &str, input: Input) -> Vec<String> {
        let mut effects = Vec::new();
        self.desk.core.step(self.desk.now_ms, input, &mut effects);
        let mut said = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(op) => {
                    let text = self.record(&op);
                    match op {
                        RecordOp::Put(r) => drop(self.desk.image.insert(r.key(), r.encode())),
                        RecordOp::Delete(key) => drop(self.desk.image.remove(&key.to_bytes())),
                    }
                    if self.records {
                        said.push(text);
                    }
                }
                other => said.push(tell(who, &other)),
            }
        }
        assert_eq!(self.desk.image, image_of(&self.desk.core), "image and core differ");
        said
    }

    /// A change of the durable image; what is deleted is described by what is there.
    fn record(&self, op: &RecordOp) -> String {
        let (what, record) = match op {
            RecordOp::Put(record) => ("put", record.clone()),
            RecordOp::Delete(key) => {
                let key_bytes = key.to_bytes();
                let value = self.desk.image.get(&key_bytes).expect("deletes what is there");
                ("delete", Record::decode(&key_bytes, value).unwrap())
            }
        };
        match &record {
            Record::Lock(lock) => format!(
                "{what} lock of {} {} {} {}",
                lock.owner.owner_id,
                name(&lock.file),
                range(lock.range),
                mode(lock.mode)
            ),
            Record::Waiter(waiter) => format!(
                "{what} {} of {} {} {} {}",
                if waiter.granted.is_some() { "grant" } else { "waiter" },
                waiter.owner.owner_id,
                name(&waiter.file),
                range(waiter.range),
                mode(waiter.mode)
            ),
            Record::Client(client) => {
                format!("{what} client {} state {}", client.client_id, client.incarnation)
            }
            Record::Share(_) => {
                let RecordKey::Share { file, owner_id } = record.record_key() else {
                    unreachable!("the key of a share")
                };
                format!("{what} share of {owner_id} {}", name(&file))
            }
        }
    }

    /// Who has what on a file, and who waits.
    fn show(&self, on: &str) -> Vec<String> {
        let (file, core, mut said) = (file(on), &self.desk.core, Vec::new());
        for lock in core.locks_of_file(&file, Range::ALL) {
            let (owner, held) = (&lock.owner.owner_id, range(lock.range));
            said.push(format!("{held} {} held by {owner}", mode(lock.mode)));
        }
        for share in core.shares_of_file(&file) {
            let (owner, deny) = (&share.owner.owner_id, access(share.deny));
            said.push(format!("access {} deny {deny} by {owner}", access(share.access)));
        }
        for waiter in core.waiters().filter(|w| w.file == file && w.granted.is_none()) {
            let (owner, wanted) = (&waiter.owner.owner_id, range(waiter.range));
            said.push(format!("{wanted} {} awaited by {owner}", mode(waiter.mode)));
        }
        if said.is_empty() {
            said.push("nothing".to_owned());
        }
        said
    }
}

fn tell(who: &str, effect: &Effect) -> String {
    match effect {
        Effect::Reply { outcome, .. } => format!("{who} {}", answer(outcome)),
        Effect::Grant(grant) => {
            let (owner, on) = (&grant.owner.owner_id, name(&grant.file));
            format!("tell {owner}: granted {on} {} {}", range(grant.range), mode(grant.mode))
        }
        Effect::GrantOver { .. } => "tell no more: that grant is over".to_owned(),
        Effect::WaitOver { why, .. } => {
            let why = match why {
                WaitEnd::Deadlock { cycle } => {
                    let cycle: Vec<&str> = cycle.iter().map(|owner| &*owner.owner_id).collect();
                    format!("Deadlock of {}", cycle.join(", "))
                }
                other => format!("{other:?}"),
            };
            format!("tell: that wait is over, without the lock: {why}")
        }
        Effect::Monitor { client_id } => format!("monitor {client_id}"),
        Effect::Unmonitor { client_id } => format!("monitor {client_id} no more"),
        Effect::Lapsed { client_id } => format!("client {client_id} has lapsed"),
        Effect::Taken(taken) => {
            let held = |lock: &LockRecord| {
                let (owner, on) = (&lock.owner.owner_id, name(&lock.file));
                format!("{owner}'s {on} {} {}", range(lock.range), mode(lock.mode))
            };
            let named: Vec<String> = taken.named.iter().map(held).collect();
            let Taken { client_id, why, locks, shares, .. } = taken;
            format!(
                "taken from {client_id} ({why:?}): {locks} locks, {shares} shares: {}",
                named.join(", ")
            )
        }
        Effect::Grace(event) => match event {
            GraceEvent::Opened { locks, clients, exact, .. } => {
                let how = if *exact { "until all are back" } else { "to the end" };
                format!("grace opened for {locks} on record of {clients} clients, {how}")
            }
            GraceEvent::Progress { reclaimed, left } => {
                format!("grace: {reclaimed} reclaimed, {left} left")
            }
            GraceEvent::Instant { locks, clients } => {
                format!("no grace: {locks} on record of {clients} clients stand")
            }
            GraceEvent::Closed { why, reclaimed, dropped, kept: 0 } => {
                format!("grace closed ({why:?}): {reclaimed} reclaimed, {dropped} dropped")
            }
            GraceEvent::Closed { why, reclaimed, kept, .. } => {
                format!("grace closed ({why:?}): {reclaimed} reclaimed, {kept} kept")
            }
        },
        Effect::Persist(_) => unreachable!("told as a record"),
    }
}

fn answer(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Conflict(Conflict { owner, range: held, mode: how }) => {
            format!("denied: {} has {} {}", owner.owner_id, range(*held), mode(*how))
        }
        Outcome::Granted => "granted".to_owned(),
        Outcome::Blocked => "blocked".to_owned(),
        Outcome::Cleared(Cleared { locks, shares, waiters, named, more }) => {
            assert_eq!((named.len() as u64, *more), (locks + shares + waiters, false));
            format!("released {locks} locks, {shares} shares, {waiters} waiters")
        }
        Outcome::Done => "done".to_owned(),
        Outcome::Free => "would be granted".to_owned(),
        Outcome::AlreadyHeld => "denied: holds it already".to_owned(),
        Outcome::ReclaimRefused => "denied: not on record".to_owned(),
        Outcome::StillHolds { .. } => "denied: holds or awaits something".to_owned(),
        other => {
            let error = other.error().expect("all others are refusals with facts");
            format!("denied: {error}")
        }
    }
}

fn run(text: &str) -> String {
    let mut run = Run { desk: Desk::new(), tokens: 0, records: false };
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        writeln!(out, "{line}").unwrap();
        if !line.is_empty() && !line.starts_with('#') {
            for effect in run.line(line) {
                writeln!(out, "  {effect}").unwrap();
            }
        }
    }
    out
}

#[test]
fn the_core_does_what_the_transcripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let bless = std::env::var_os("CLEAT_BLESS").is_some_and(|value| value == "1");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    paths.sort();
    assert!(paths.len() >= 11, "the transcripts are there");
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let found = run(&expected);
        if bless {
            std::fs::write(&path, found).unwrap();
        } else {
            assert_eq!(found, expected, "{}: see CLEAT_BLESS above", path.display());
        }
    }
}
