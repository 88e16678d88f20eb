//! The duplicate request cache: a call that is sent again gets the answer it got, and runs once.
//!
//! A client that missed a reply repeats its call, on another connection perhaps, with the same
//! xid. Where the first one changed something, running it again would answer wrongly (REMOVE:
//! no such file) or do harm (LOCK after the UNLOCK that followed it). So such a call's answer is
//! kept for a while, and a repetition that comes while the first still runs waits for it. What
//! still runs is never forgotten, and bounded by what the listener lets run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cleat_rpc::{Credential, Fault, Reply, Writer};
use siphasher::sip128::{Hash128, Hasher128, SipHasher13};
use tokio::sync::oneshot;

use super::program::{Answer, Call};

/// The most answers that are kept of one address: more than a client has calls on their way.
pub const ANSWERS_PER_CLIENT_MAX: usize = 1024;
/// The most answers that are kept altogether; the oldest goes first.
pub const ANSWERS_MAX: usize = 65_536;
/// The most bytes of all answers that are kept; the oldest goes first.
pub const ANSWERS_BYTES_MAX: usize = 32 << 20;
/// A longer answer is not kept, in bytes. No call that changes something has one: the longest is
/// that of a SHARE, whose cookie may have 1024 bytes.
pub const ANSWER_BYTES_MAX: usize = 1280;
/// How long an answer is kept. Clients give up on a reply after a minute, and repeat the call.
pub const KEPT: Duration = Duration::from_secs(300);

/// What makes a call a repetition: its sender, and all else in a keyed hash: its xid, the way it
/// came, and that the same is asked as the same user. A client counts its xids for each address of
/// ours and each transport by itself, and tells lock owners apart by these two; its port changes
/// when it connects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    asked: (u64, u64),
}

/// An answer as it is kept.
type Kept = Result<Bytes, Fault>;

#[derive(Debug)]
enum Entry {
    /// The call runs, and these came again meanwhile.
    Running(Vec<oneshot::Sender<Kept>>),
    Answered(Kept),
}

#[derive(Debug, Default)]
struct Answers {
    entries: HashMap<Key, Entry>,
    /// The next answer's number.
    next: u64,
    /// What was answered and when, by the answers' numbers.
    answered: BTreeMap<u64, (Key, Instant)>,
    /// The numbers of one address's answers, the oldest first.
    per_client: HashMap<IpAddr, VecDeque<u64>>,
    bytes: usize,
    repeated: u64,
}

/// How full the cache is, and what it was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateCounts {
    /// Answers kept now; [`ANSWERS_MAX`] at most.
    pub answers: usize,
    /// Addresses that they are of.
    pub clients: usize,
    /// Calls since the start that got the answer of a first one.
    pub repeated: u64,
}

/// The cache, shared by every connection of a listener. A program whose answers go out otherwise
/// than as replies has one of its own.
#[derive(Debug)]
pub(crate) struct Duplicates {
    answers: Arc<Mutex<Answers>>,
    /// Keeps clients from making two calls alike on purpose.
    seed: (u64, u64),
}

/// A call that runs for the first time, until its answer is there.
struct Run {
    answers: Arc<Mutex<Answers>>,
    key: Key,
    ended: bool,
}

impl Duplicates {
    pub(crate) fn new() -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair();
        Self { answers: Arc::default(), seed }
    }

    /// Answers a call that changes something: by `run`, unless it was run before.
    pub(crate) fn answer(&self, call: Call, run: impl FnOnce(Call) -> Answer) -> Answer {
        let key = self.key(&call);
        if let Some(repeated) = lock(&self.answers).again(key, Instant::now()) {
            return repeated;
        }
        let first = Run { answers: Arc::clone(&self.answers), key, ended: false };
        match run(call) {
            Answer::Now(reply) => Answer::Now(first.ends(reply)),
            Answer::Later(reply) => Answer::later(async move { first.ends(reply.await) }),
        }
    }

    pub(super) fn count(&self) -> DuplicateCounts {
        let answers = lock(&self.answers);
        DuplicateCounts {
            answers: answers.answered.len(),
            clients: answers.per_client.len(),
            repeated: answers.repeated,
        }
    }

    fn key(&self, call: &Call) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        let header = &call.header;
        for word in [header.xid, header.program, header.version, header.procedure] {
            hasher.write_u32(word);
        }
        (call.local, call.transport).hash(&mut hasher);
        // Of the rest, Linux writes the stamp anew where it encodes a repetition anew.
        if let Credential::Sys(sys) = &header.credential {
            [sys.uid, sys.gid].into_iter().for_each(|word| hasher.write_u32(word));
        }
        hasher.write(&call.arguments);
        let Hash128 { h1, h2 } = hasher.finish128();
        Key { client: call.peer.ip(), asked: (h1, h2) }
    }
}

/// The answers are whole between any two of their operations, so a panic elsewhere leaves them
/// usable.
fn lock(answers: &Mutex<Answers>) -> MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn ends(mut self, reply: Reply) -> Reply {
        let answer = reply.map(Writer::into_bytes);
        self.ended = true;
        lock(&self.answers).keep(self.key, &answer, Instant::now());
        answer.map(Writer::from)
    }
}

impl Drop for Run {
    /// Where it ended without an answer, the next such call is the first again.
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.answers).entries.remove(&self.key);
        }
    }
}

impl Answers {
    /// The answer of the first such call, or `None` where this is the first.
    fn again(&mut self, key: Key, now: Instant) -> Option<Answer> {
        self.forget_old(now);
        let answer = match self.entries.get_mut(&key) {
            None => {
                self.entries.insert(key, Entry::Running(Vec::new()));
                return None;
            }
            Some(Entry::Answered(kept)) => Answer::Now(kept.clone().map(Writer::from)),
            Some(Entry::Running(waiting)) => {
                let (told, answer) = oneshot::channel();
                waiting.push(told);
                Answer::later(async move {
                    // Where the first ended without an answer the client will ask once more.
                    answer.await.unwrap_or(Err(Fault::SystemError)).map(Writer::from)
                })
            }
        };
        self.repeated += 1;
        Some(answer)
    }

    /// The first call has its answer: keeps it, and tells it to those that wait for it.
    fn keep(&mut self, key: Key, answer: &Kept, now: Instant) {
        if let Some(Entry::Running(waiting)) = self.entries.remove(&key) {
            waiting.into_iter().for_each(|told| drop(told.send(answer.clone())));
        }
        let bytes = length(answer);
        if bytes > ANSWER_BYTES_MAX {
            return;
        }
        // A copy of its own, for the reply's buffer has more room than it needs.
        let kept = answer.as_deref().map(Bytes::copy_from_slice).map_err(|fault| *fault);
        self.entries.insert(key, Entry::Answered(kept));
        self.bytes += bytes;
        self.answered.insert(self.next, (key, now));
        let own = self.per_client.entry(key.client).or_default();
        own.push_back(self.next);
        self.next += 1;
        if own.len() > ANSWERS_PER_CLIENT_MAX {
            let oldest = own.front().copied();
            oldest.into_iter().for_each(|number| self.forget(number));
        }
        while self.answered.len() > ANSWERS_MAX || self.bytes > ANSWERS_BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.answered.first_key_value().is_some_and(|(_, (_, since))| now - *since >= KEPT) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.answered.first_key_value().map(|(number, _)| *number);
        oldest.into_iter().for_each(|number| self.forget(number));
    }

    /// Forgets an answer: of those of its address, it is the oldest.
    fn forget(&mut self, number: u64) {
        let Some((key, _)) = self.answered.remove(&number) else { return };
        if let Some(Entry::Answered(answer)) = self.entries.remove(&key) {
            self.bytes -= length(&answer);
        }
        if let Some(own) = self.per_client.get_mut(&key.client) {
            own.pop_front();
            if own.is_empty() {
                self.per_client.remove(&key.client);
            }
        }
    }
}

fn length(answer: &Kept) -> usize {
    answer.as_ref().map_or(0, Bytes::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc_server::Transport;
    use cleat_rpc::{AuthSys, CallHeader};

    const NOTHING: Kept = Ok(Bytes::new());

    fn key(client: u8, xid: u64) -> Key {
        Key { client: [10, 0, 0, client].into(), asked: (xid, 0) }
    }

    fn call(port: u16, server: u8, transport: Transport, uid: u32, stamp: u32) -> Call {
        let sys = AuthSys { uid, stamp, ..AuthSys::default() };
        let credential = Credential::Sys(sys);
        Call {
            header: CallHeader { xid: 7, program: 100_021, version: 4, procedure: 2, credential },
            peer: ([10, 0, 0, 2], port).into(),
            local: ([10, 0, 1, server], 2049).into(),
            transport,
            arguments: Bytes::from_static(b"arguments"),
        }
    }

    fn same() -> Call {
        call(700, 1, Transport::Tcp, 1000, 1)
    }

    #[test]
    fn a_repetition_comes_the_same_way_as_the_same_user_from_any_port() {
        use Transport::{Tcp, Udp};
        let duplicates = Duplicates::new();
        let first = duplicates.key(&call(700, 1, Tcp, 1000, 1));
        assert_eq!(duplicates.key(&call(800, 1, Tcp, 1000, 2)), first);
        let next = CallHeader { xid: 8, ..same().header };
        // These are of other lock owners, or of other users, or another call.
        for other in [
            call(700, 2, Tcp, 1000, 1),
            call(700, 1, Udp, 1000, 1),
            call(700, 1, Tcp, 1001, 1),
            Call { header: next, ..same() },
        ] {
            assert_ne!(duplicates.key(&other), first);
        }
    }

    #[test]
    fn repetitions_are_counted() {
        let duplicates = Duplicates::new();
        for (uid, port) in [(1, 700), (1, 800), (2, 700), (1, 900)] {
            let call = call(port, 1, Transport::Tcp, uid, 1);
            drop(duplicates.answer(call, |_| Answer::Now(Ok(Writer::new()))));
        }
        let counts = DuplicateCounts { answers: 2, clients: 1, repeated: 2 };
        assert_eq!(duplicates.count(), counts);
    }

    async fn bytes(answer: Answer) -> Result<usize, Fault> {
        let reply = match answer {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        reply.map(|results| results.len())
    }

    fn of_length(bytes: usize) -> Reply {
        let mut results = Writer::new();
        results.raw(&vec![0; bytes]);
        Ok(results)
    }

    #[tokio::test]
    async fn an_answer_of_any_length_is_told_to_those_that_wait_and_one_that_fits_is_kept() {
        // The longest result of SHARE, with a cookie of 1024 bytes; and one of no procedure.
        for (length, runs_again) in [(4 + 1024 + 4 + 4, false), (ANSWER_BYTES_MAX + 1, true)] {
            let duplicates = Duplicates::new();
            let (go, gone) = oneshot::channel::<()>();
            let first = duplicates.answer(same(), |_| {
                Answer::later(async move {
                    gone.await.expect("told to go");
                    of_length(length)
                })
            });
            let second = duplicates.answer(same(), |_| unreachable!("it runs"));
            go.send(()).expect("it waits");
            assert_eq!(bytes(first).await, Ok(length));
            assert_eq!(bytes(second).await, Ok(length));
            let again = duplicates.answer(same(), |_| Answer::Now(of_length(1)));
            assert_eq!(bytes(again).await, Ok(if runs_again { 1 } else { length }));
        }
    }

    #[tokio::test]
    async fn a_call_that_ends_without_an_answer_may_run_again() {
        let duplicates = Duplicates::new();
        let first = duplicates.answer(same(), |_| Answer::later(std::future::pending()));
        let second = duplicates.answer(same(), |_| unreachable!("it runs"));
        drop(first);
        assert_eq!(bytes(second).await, Err(Fault::SystemError));
        let third = duplicates.answer(same(), |_| Answer::Now(of_length(1)));
        assert_eq!(bytes(third).await, Ok(1));
    }

    #[test]
    fn what_runs_is_not_forgotten_whatever_else_comes() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        assert!(answers.again(key(1, 0), now).is_none());
        for xid in 1..=ANSWERS_PER_CLIENT_MAX as u64 + 1 {
            assert!(answers.again(key(1, xid), now).is_none());
            answers.keep(key(1, xid), &NOTHING, now);
        }
        answers.forget_old(now + KEPT);
        assert!(answers.again(key(1, 0), now).is_some(), "it still runs");
    }

    #[test]
    fn an_answer_that_was_forgotten_and_given_again_is_kept_as_long_as_any() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        let others = 1..=ANSWERS_PER_CLIENT_MAX as u64;
        for xid in [0].into_iter().chain(others).chain([0]) {
            answers.keep(key(1, xid), &NOTHING, now);
        }
        answers.keep(key(2, 0), &NOTHING, now);
        for _ in 0..ANSWERS_PER_CLIENT_MAX - 1 {
            answers.forget_oldest();
        }
        assert!(answers.entries.contains_key(&key(1, 0)));
        answers.forget_oldest();
        assert_eq!(answers.entries.len(), 1, "the other's");
        assert_eq!(answers.per_client.len(), 1);
    }

    /// Whatever was kept and forgotten, everything is of the same answers.
    fn check(answers: &Answers) {
        let listed: usize = answers.per_client.values().map(VecDeque::len).sum();
        assert_eq!((answers.entries.len(), listed), (answers.answered.len(), listed));
        assert_eq!(listed, answers.answered.len());
        assert!(answers.bytes <= ANSWERS_BYTES_MAX && listed <= ANSWERS_MAX);
    }

    #[test]
    fn one_client_pushes_out_no_answers_but_its_own() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.keep(key(1, 0), &NOTHING, now);
        for xid in 0..100_000 {
            answers.keep(key(2, xid), &NOTHING, now);
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
            let answer = Ok(Bytes::from(vec![0; length]));
            for client in 0..=255 {
                for xid in 0..300 {
                    answers.keep(key(client, xid), &answer, now);
                }
            }
            assert_eq!((answers.entries.len(), answers.bytes), (kept, kept * length));
            check(&answers);
        }
    }

    #[test]
    fn answers_are_forgotten_in_time() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.keep(key(1, 1), &NOTHING, now);
        answers.forget_old(now + KEPT);
        assert!(answers.entries.is_empty());
        check(&answers);
    }
}
