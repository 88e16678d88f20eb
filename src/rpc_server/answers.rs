//! The answers that are kept for calls that come again, and what ends them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cleat_rpc::Fault;
use tokio::sync::oneshot;

use super::link::Link;
use super::once::{Once, Outcome, Part, Repeat};
use super::program::Transport;
use super::share::network_of;

/// The most answers that are kept of one address (IPv6: of one /64): more than a client has calls
/// on their way.
pub const ANSWERS_PER_CLIENT_MAX: usize = 1024;
/// The most answers that are kept altogether; the oldest goes first.
pub const ANSWERS_MAX: usize = 65_536;
/// The most bytes of all answers that are kept; the oldest goes first.
pub const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// A longer answer is not kept, in bytes. No call that changes something has one: the longest is
/// that of a SHARE, whose cookie may have 1024 bytes.
pub const ANSWER_BYTES_MAX: usize = 1280;
/// How long an answer is kept. Clients give up on a reply after a minute, and repeat the call.
pub(super) const KEPT: Duration = Duration::from_secs(300);
/// How long after a later call of its client a datagram that comes again is taken for one that was
/// long under way, and dropped: no network keeps one longer. A client that means it asks again.
pub(super) const LATE: Duration = Duration::from_secs(10);

/// What makes two calls the same: their client's address, and all else in a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: IpAddr,
    pub(super) asked: (u64, u64),
}

/// Where a call came from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) transport: Transport,
    pub(super) port: u16,
    pub(super) link: Link,
}

/// An answer as those get it that wait for it.
pub(super) type Kept = Result<Bytes, Fault>;

/// What becomes of a call.
#[derive(Debug)]
pub(super) enum Found {
    /// It runs; again, where it is a repetition.
    First { again: bool },
    /// It is a repetition of one with this answer, where that is still so; else it runs.
    Check(Bytes),
    /// It is a repetition of one with this answer.
    Answered(Bytes),
    /// It is a repetition of one that runs.
    Runs(oneshot::Receiver<Kept>),
    /// Nobody waits for its answer, and to run would undo what its client did since.
    Late,
}

#[derive(Debug)]
enum State {
    /// The call runs, and these came again meanwhile. A later call may have ended it already.
    Running {
        waiting: Vec<oneshot::Sender<Kept>>,
        ended: bool,
    },
    Answered(Bytes),
    /// Its client did something since that makes its answer an old story.
    Ended(Instant),
}

#[derive(Debug)]
struct Entry {
    /// Calls are numbered as they begin.
    number: u64,
    /// Answers are numbered as they are given.
    answer: u64,
    from: Source,
    /// How many calls had come on its connection when it was answered, and when that was.
    calls: u64,
    since: Instant,
    once: Once,
    state: State,
}

#[derive(Debug, Default)]
pub(super) struct Answers {
    entries: HashMap<Key, Entry>,
    calls: u64,
    given: u64,
    /// What was answered and when, by the answers' numbers.
    answered: BTreeMap<u64, (Key, Instant)>,
    /// The numbers of one network's answers.
    per_client: HashMap<IpAddr, BTreeSet<u64>>,
    /// What may be ended, by client, part and the call's number.
    parts: BTreeMap<(IpAddr, u64, u64), (Key, Part)>,
    bytes: usize,
    repeated: u64,
}

impl Entry {
    /// Whether a call with the same words is a repetition of this, and no new one.
    fn is_repeated_by(&self, from: &Source, now: Instant) -> bool {
        let same_port = from.port == self.from.port;
        match from.transport {
            Transport::Udp => same_port,
            Transport::Tcp => {
                same_port
                    || from.link.number() <= self.from.link.number()
                    || !self.from.link.has_delivered(self.calls, now.duration_since(self.since))
            }
        }
    }

    /// Whether it can only be one that was long under way.
    fn is_late(&self, from: &Source, since: Duration) -> bool {
        match from.transport {
            Transport::Udp => from.port == self.from.port && since < LATE,
            Transport::Tcp => {
                from.link.number() < self.from.link.number() || from.link.is_given_up()
            }
        }
    }
}

impl Answers {
    /// Kept answers, the networks they are of, and how many were repeated.
    pub(super) fn counts(&self) -> (usize, usize, u64) {
        (self.answered.len(), self.per_client.len(), self.repeated)
    }

    /// Finds what becomes of a call.
    pub(super) fn find(&mut self, key: Key, from: &Source, once: &Once, now: Instant) -> Found {
        self.forget_old(now);
        let (mut again, mut check) = (false, None);
        if let Some(entry) = self.entries.get_mut(&key) {
            match &mut entry.state {
                State::Running { waiting, .. } => {
                    let (told, answer) = oneshot::channel();
                    waiting.push(told);
                    self.repeated += 1;
                    return Found::Runs(answer);
                }
                State::Ended(since) => {
                    let since = now.duration_since(*since);
                    if entry.is_late(from, since) {
                        self.repeated += 1;
                        return Found::Late;
                    }
                }
                State::Answered(kept) => {
                    let kept = kept.clone();
                    again = entry.is_repeated_by(from, now);
                    if again && entry.once.repeat == Repeat::Answered {
                        // Its client has this answer as soon as it had the first one.
                        entry.from = from.clone();
                        (entry.calls, entry.since) = (from.link.calls(), now);
                        self.repeated += 1;
                        return Found::Answered(kept);
                    }
                    check = (again && entry.once.repeat == Repeat::Checked).then_some(kept);
                }
            }
            let answer = entry.answer;
            self.forget(answer);
        }
        self.repeated += u64::from(again);
        self.begin(key, from, once, now);
        check.map_or(Found::First { again }, Found::Check)
    }

    fn begin(&mut self, key: Key, from: &Source, once: &Once, now: Instant) {
        let number = self.calls;
        self.calls += 1;
        for part in &once.ended_by {
            self.parts.insert((key.client, part.of, number), (key, *part));
        }
        let state = State::Running { waiting: Vec::new(), ended: false };
        let (from, once) = (from.clone(), once.clone());
        let entry = Entry { number, answer: 0, from, calls: 0, since: now, once, state };
        self.entries.insert(key, entry);
    }

    /// The call has its answer: tells it to those that wait for it, and keeps it.
    pub(super) fn keep(&mut self, key: Key, answer: &Kept, outcome: Outcome, now: Instant) {
        let Some(mut entry) = self.entries.remove(&key) else { return };
        let State::Running { waiting, ended } = entry.state else { return };
        waiting.into_iter().for_each(|told| drop(told.send(answer.clone())));
        if outcome == Outcome::Done {
            self.end(key.client, entry.number, &entry.once.ends, now);
        }
        let kept = match answer {
            Ok(bytes) if outcome != Outcome::AskAgain && bytes.len() <= ANSWER_BYTES_MAX => bytes,
            _ => return self.unlist(key, entry.number, &entry.once.ended_by),
        };
        entry.state = match entry.once.repeat {
            _ if ended => State::Ended(now),
            // It is never told: what counts is that it was given.
            Repeat::Runs => State::Answered(Bytes::new()),
            // A copy of its own, for the reply's buffer has more room than it needs.
            Repeat::Answered | Repeat::Checked => State::Answered(Bytes::copy_from_slice(kept)),
        };
        (entry.answer, entry.calls) = (self.given, entry.from.link.calls());
        entry.since = now;
        self.given += 1;
        self.bytes += entry.bytes();
        self.answered.insert(entry.answer, (key, now));
        let own = self.per_client.entry(network_of(key.client)).or_default();
        own.insert(entry.answer);
        let oldest = own.first().copied().filter(|_| own.len() > ANSWERS_PER_CLIENT_MAX);
        self.entries.insert(key, entry);
        oldest.into_iter().for_each(|answer| self.forget(answer));
        while self.answered.len() > ANSWERS_MAX || self.bytes > ANSWERS_BYTES_MAX {
            self.forget_oldest();
        }
    }

    /// The call ended without an answer: the next such call is the first again.
    pub(super) fn give_up(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.unlist(key, entry.number, &entry.once.ended_by);
        }
    }

    /// A later call was done: those of its client that began before it, about the same, are over.
    fn end(&mut self, client: IpAddr, number: u64, ends: &[Part], now: Instant) {
        let mut over = Vec::new();
        for part in ends {
            let before = self.parts.range((client, part.of, 0)..(client, part.of, number));
            over.extend(before.filter(|(_, (_, of))| of.meets(part)).map(|(_, (key, _))| *key));
        }
        for key in over {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            self.bytes -= entry.bytes();
            match &mut entry.state {
                State::Running { ended, .. } => *ended = true,
                State::Answered(_) => entry.state = State::Ended(now),
                State::Ended(_) => {}
            }
            let (number, parts) = (entry.number, entry.once.ended_by.clone());
            self.unlist(key, number, &parts);
        }
    }

    fn unlist(&mut self, key: Key, number: u64, parts: &[Part]) {
        for part in parts {
            self.parts.remove(&(key.client, part.of, number));
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.answered.first_key_value().is_some_and(|(_, (_, since))| now - *since >= KEPT) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.answered.first_key_value().map(|(answer, _)| *answer);
        oldest.into_iter().for_each(|answer| self.forget(answer));
    }

    fn forget(&mut self, answer: u64) {
        let Some((key, _)) = self.answered.remove(&answer) else { return };
        if let Some(entry) = self.entries.remove(&key) {
            self.bytes -= entry.bytes();
            self.unlist(key, entry.number, &entry.once.ended_by);
        }
        let network = network_of(key.client);
        if let Some(own) = self.per_client.get_mut(&network) {
            own.remove(&answer);
            if own.is_empty() {
                self.per_client.remove(&network);
            }
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        match &self.state {
            State::Answered(kept) => kept.len(),
            State::Running { .. } | State::Ended(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Kept = Ok(Bytes::new());
    const FILE: &str = "a file";

    fn key(client: u8, xid: u64) -> Key {
        Key { client: [10, 0, 0, client].into(), asked: (xid, 0) }
    }

    fn from(port: u16) -> Source {
        Source { transport: Transport::Udp, port, link: Link::default() }
    }

    fn about(parts: Vec<Part>) -> Once {
        Once::new(Repeat::Answered, parts)
    }

    fn answered(answers: &mut Answers, key: Key, once: &Once, now: Instant) {
        assert!(matches!(answers.find(key, &from(1), once, now), Found::First { again: false }));
        answers.keep(key, &NOTHING, Outcome::Done, now);
    }

    fn again(answers: &mut Answers, key: Key, now: Instant) -> Found {
        answers.find(key, &from(1), &about(Vec::new()), now)
    }

    /// Whatever was kept, ended and forgotten, everything is of the same answers.
    fn check(answers: &Answers) {
        let listed: usize = answers.per_client.values().map(BTreeSet::len).sum();
        assert_eq!((answers.entries.len(), listed), (answers.answered.len(), listed));
        let bytes: usize = answers.entries.values().map(Entry::bytes).sum();
        assert_eq!(bytes, answers.bytes);
        let all = |(key, _): &(Key, Part)| answers.entries.contains_key(key);
        assert!(answers.parts.values().all(all), "parts of what was forgotten");
        assert!(answers.bytes <= ANSWERS_BYTES_MAX && listed <= ANSWERS_MAX);
    }

    #[test]
    fn a_later_call_about_the_same_ends_an_answer() {
        let bytes = |first, last| about(vec![Part::range(FILE, first, last)]);
        for (second, over) in [
            (bytes(5, 5), true),
            (bytes(10, 20), false),
            (about(vec![Part::whole(FILE)]), true),
            (about(vec![Part::whole("another")]), false),
        ] {
            let (mut answers, now) = (Answers::default(), Instant::now());
            answered(&mut answers, key(1, 1), &bytes(0, 9), now);
            // Another client's ends nothing.
            answered(&mut answers, key(2, 2), &bytes(0, 9), now);
            answered(&mut answers, key(1, 2), &second, now);
            check(&answers);
            match again(&mut answers, key(1, 1), now) {
                Found::Late => assert!(over),
                Found::Answered(_) => assert!(!over),
                other => unreachable!("{other:?}"),
            }
            // From another port it is no datagram that was under way; nor is it later.
            if over {
                let late = answers.find(key(1, 1), &from(1), &second, now + LATE);
                assert!(matches!(late, Found::First { again: false }), "{late:?}");
            }
        }
    }

    #[test]
    fn what_was_refused_ends_nothing_and_what_began_later_is_not_ended() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let once = about(vec![Part::whole(FILE)]);
        answered(&mut answers, key(1, 1), &once, now);
        assert!(matches!(again_about(&mut answers, 2, &once, now), Found::First { .. }));
        answers.keep(key(1, 2), &NOTHING, Outcome::Refused, now);
        assert!(matches!(again(&mut answers, key(1, 1), now), Found::Answered(_)));
        // Two that run at once: the one that began first was not answered when the other did.
        for xid in [3, 4] {
            assert!(matches!(again_about(&mut answers, xid, &once, now), Found::First { .. }));
        }
        answers.keep(key(1, 4), &NOTHING, Outcome::Done, now);
        answers.keep(key(1, 3), &NOTHING, Outcome::Done, now);
        assert!(matches!(again(&mut answers, key(1, 3), now), Found::Late));
        assert!(matches!(again(&mut answers, key(1, 4), now), Found::Answered(_)));
        check(&answers);
    }

    fn again_about(answers: &mut Answers, xid: u64, once: &Once, now: Instant) -> Found {
        answers.find(key(1, xid), &from(1), once, now)
    }

    #[test]
    fn who_is_told_to_ask_again_may() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for _ in 0..2 {
            let found = again(&mut answers, key(1, 1), now);
            assert!(matches!(found, Found::First { again: false }));
            answers.keep(key(1, 1), &NOTHING, Outcome::AskAgain, now);
        }
        check(&answers);
    }

    #[test]
    fn what_runs_is_not_forgotten_whatever_else_comes() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let once = about(Vec::new());
        assert!(matches!(again(&mut answers, key(1, 0), now), Found::First { .. }));
        for xid in 1..=ANSWERS_PER_CLIENT_MAX as u64 + 1 {
            answered(&mut answers, key(1, xid), &once, now);
        }
        answers.forget_old(now + KEPT);
        assert!(matches!(again(&mut answers, key(1, 0), now), Found::Runs(_)));
    }

    #[test]
    fn one_client_pushes_out_no_answers_but_its_own() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answered(&mut answers, key(1, 0), &about(Vec::new()), now);
        for xid in 0..10_000 {
            answered(&mut answers, key(2, xid), &about(vec![Part::whole(xid)]), now);
        }
        assert!(answers.entries.contains_key(&key(1, 0)));
        assert_eq!(answers.entries.len(), 1 + ANSWERS_PER_CLIENT_MAX);
        check(&answers);
    }

    #[test]
    fn many_clients_keep_within_the_bounds() {
        // Many small answers, and fewer large ones.
        for (length, kept) in [(0, ANSWERS_MAX), (1024, ANSWERS_BYTES_MAX / 1024)] {
            let (mut answers, now) = (Answers::default(), Instant::now());
            let (answer, once) = (Ok(Bytes::from(vec![0; length])), about(Vec::new()));
            for client in 0..=255 {
                for xid in 0..300 {
                    let _ = answers.find(key(client, xid), &from(1), &once, now);
                    answers.keep(key(client, xid), &answer, Outcome::Done, now);
                }
            }
            assert_eq!((answers.entries.len(), answers.bytes), (kept, kept * length));
            check(&answers);
        }
    }

    #[test]
    fn answers_are_forgotten_in_time() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answered(&mut answers, key(1, 1), &about(vec![Part::whole(FILE)]), now);
        answers.forget_old(now + KEPT);
        assert!(answers.entries.is_empty());
        check(&answers);
    }
}
