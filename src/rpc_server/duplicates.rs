//! The duplicate request cache: a call that is sent again gets the answer it got, and runs once.
//!
//! A client that missed a reply repeats its call, on another connection perhaps, with the same
//! xid. Where the first one changed something, running it again would answer wrongly (REMOVE:
//! no such file) or do harm (LOCK after the UNLOCK that followed it). So such a call's answer is
//! kept for a while, and a repetition that comes while the first still runs waits for it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cleat_rpc::{Credential, Fault, Reply, Writer};
use siphasher::sip128::{Hash128, Hasher128, SipHasher13};
use tokio::sync::watch;

use super::program::{Answer, Call, Transport};

/// The most answers that are kept of one address: more than a client has calls on their way.
pub const ANSWERS_PER_CLIENT_MAX: usize = 1024;
/// The most answers that are kept altogether; the oldest goes first.
pub const ANSWERS_MAX: usize = 65_536;
/// A longer answer is not kept, in bytes: no call that changes something has one.
pub const ANSWER_BYTES_MAX: usize = 1024;
/// How long an answer is kept. Clients give up on a reply after a minute, and repeat the call.
pub const KEPT: Duration = Duration::from_secs(300);

/// What makes a call a repetition: its sender and xid, the way it came, and that the same is asked
/// as the same user. A client counts its xids for each address of ours and each transport by
/// itself, and tells lock owners apart by these two; its port changes when it connects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    server: SocketAddr,
    transport: Transport,
    xid: u32,
    asked: (u64, u64),
}

/// An answer as it is kept; `None` while the call runs.
type Kept = Option<Result<Bytes, Fault>>;

#[derive(Debug)]
struct Entry {
    answer: watch::Receiver<Kept>,
    since: Instant,
}

#[derive(Debug, Default)]
struct Answers {
    entries: HashMap<Key, Entry>,
    /// In the order in which they came.
    order: VecDeque<Key>,
    per_client: HashMap<IpAddr, VecDeque<Key>>,
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
    answers: Mutex<Answers>,
    repeated: AtomicU64,
    /// Keeps clients from making two calls alike on purpose.
    seed: (u64, u64),
}

impl Duplicates {
    pub(crate) fn new() -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair();
        Self { answers: Mutex::default(), repeated: AtomicU64::default(), seed }
    }

    /// Answers a call that changes something: by `run`, unless it was run before.
    pub(crate) fn answer(&self, call: Call, run: impl FnOnce(Call) -> Answer) -> Answer {
        let key = self.key(&call);
        let (told, answer) = watch::channel(None);
        if let Some(first) = self.first(key, answer) {
            self.repeated.fetch_add(1, Ordering::Relaxed);
            return repeated(first);
        }
        match run(call) {
            Answer::Now(reply) => Answer::Now(keep(&told, reply)),
            Answer::Later(reply) => Answer::later(async move { keep(&told, reply.await) }),
        }
    }

    pub(super) fn count(&self) -> DuplicateCounts {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        DuplicateCounts {
            answers: answers.entries.len(),
            clients: answers.per_client.len(),
            repeated: self.repeated.load(Ordering::Relaxed),
        }
    }

    fn key(&self, call: &Call) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        let header = &call.header;
        for word in [header.program, header.version, header.procedure] {
            hasher.write_u32(word);
        }
        // Of the rest, Linux writes the stamp anew where it encodes a repetition anew.
        if let Credential::Sys(sys) = &header.credential {
            [sys.uid, sys.gid].into_iter().for_each(|word| hasher.write_u32(word));
        }
        hasher.write(&call.arguments);
        let Hash128 { h1, h2 } = hasher.finish128();
        let (server, transport) = (call.local, call.transport);
        Key { client: call.peer.ip(), server, transport, xid: header.xid, asked: (h1, h2) }
    }

    /// The answer of the first such call, or `None` where this is the first: then its answer is
    /// awaited from `answer`.
    fn first(&self, key: Key, answer: watch::Receiver<Kept>) -> Option<watch::Receiver<Kept>> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        answers.forget_old(now);
        match answers.entries.get(&key) {
            // Its run ended without an answer: this one is the first again.
            Some(entry)
                if entry.answer.has_changed().is_err() && entry.answer.borrow().is_none() =>
            {
                answers.entries.insert(key, Entry { answer, since: now });
                None
            }
            Some(entry) => Some(entry.answer.clone()),
            None => {
                answers.add(key, Entry { answer, since: now });
                None
            }
        }
    }
}

impl Answers {
    fn add(&mut self, key: Key, entry: Entry) {
        let own = self.per_client.entry(key.client).or_default();
        own.push_back(key);
        let surplus = (own.len() > ANSWERS_PER_CLIENT_MAX).then(|| own.pop_front()).flatten();
        if let Some(surplus) = surplus {
            self.entries.remove(&surplus);
        }
        self.entries.insert(key, entry);
        self.order.push_back(key);
        while self.entries.len() > ANSWERS_MAX {
            self.forget_oldest();
        }
        if self.order.len() > 2 * ANSWERS_MAX {
            // A client that pushes its own answers out leaves their places here.
            self.order.retain(|key| self.entries.contains_key(key));
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.order.front() {
            let kept = self.entries.get(oldest);
            if kept.is_some_and(|entry| now.duration_since(entry.since) < KEPT) {
                return;
            }
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(key) = self.order.pop_front() else { return };
        // What its client's own bound has pushed out is gone already.
        if self.entries.remove(&key).is_none() {
            return;
        }
        if let Some(own) = self.per_client.get_mut(&key.client) {
            if own.front() == Some(&key) {
                own.pop_front();
            }
            if own.is_empty() {
                self.per_client.remove(&key.client);
            }
        }
    }
}

fn keep(told: &watch::Sender<Kept>, reply: Reply) -> Reply {
    let answer = reply.map(Writer::into_bytes);
    if answer.as_ref().map_or(0, Bytes::len) <= ANSWER_BYTES_MAX {
        told.send_replace(Some(answer.clone()));
    }
    answer.map(Writer::from)
}

fn repeated(mut first: watch::Receiver<Kept>) -> Answer {
    let kept = first.borrow().clone();
    if let Some(answer) = kept {
        return Answer::Now(answer.map(Writer::from));
    }
    Answer::later(async move {
        match first.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(Fault::SystemError)).map(Writer::from),
            // The first run ended without an answer; the client will ask once more.
            Err(_) => Err(Fault::SystemError),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cleat_rpc::{AuthSys, CallHeader};

    fn key(client: u8, xid: u32) -> Key {
        let (server, transport) = (([10, 0, 1, 1], 2049).into(), Transport::Tcp);
        Key { client: [10, 0, 0, client].into(), server, transport, xid, asked: (0, 0) }
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

    #[test]
    fn a_repetition_comes_the_same_way_as_the_same_user_from_any_port() {
        use Transport::{Tcp, Udp};
        let duplicates = Duplicates::new();
        let first = duplicates.key(&call(700, 1, Tcp, 1000, 1));
        assert_eq!(duplicates.key(&call(800, 1, Tcp, 1000, 2)), first);
        // These are of other lock owners, or of other users.
        for other in
            [call(700, 2, Tcp, 1000, 1), call(700, 1, Udp, 1000, 1), call(700, 1, Tcp, 1001, 1)]
        {
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

    fn entry(since: Instant) -> Entry {
        Entry { answer: watch::channel(None).1, since }
    }

    #[test]
    fn one_client_pushes_out_no_answers_but_its_own() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.add(key(1, 0), entry(now));
        for xid in 0..300_000 {
            answers.add(key(2, xid), entry(now));
        }
        assert!(answers.entries.contains_key(&key(1, 0)));
        assert_eq!(answers.entries.len(), 1 + ANSWERS_PER_CLIENT_MAX);
        assert!(answers.order.len() <= 2 * ANSWERS_MAX);
    }

    #[test]
    fn many_clients_keep_within_the_bound() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        for client in 0..=255 {
            for xid in 0..500 {
                answers.add(key(client, xid), entry(now));
            }
        }
        assert_eq!(answers.entries.len(), ANSWERS_MAX);
        let listed: usize = answers.per_client.values().map(VecDeque::len).sum();
        assert_eq!(listed, ANSWERS_MAX);
    }

    #[test]
    fn answers_are_forgotten_in_time() {
        let (mut answers, now) = (Answers::default(), Instant::now());
        answers.add(key(1, 1), entry(now));
        answers.forget_old(now + KEPT);
        assert!(answers.entries.is_empty() && answers.per_client.is_empty());
    }
}
