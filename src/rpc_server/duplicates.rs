//! The duplicate request cache: a call that is sent again runs once, and no answer outlives its
//! truth.
//!
//! A client that missed a reply repeats its call with the same number (xid). Where the first one
//! changed something, running it again would answer wrongly (REMOVE: no such file) or do harm
//! (LOCK behind the UNLOCK that followed it). But the same number and words are no proof: numbers
//! begin anew, machines are cloned, and what was so may have ended. So three things count.
//!
//! *Where it comes from.* A repetition comes as a datagram from the same address and port. Over TCP
//! it comes on the same connection, from the same port (Linux connects from it again), on an older
//! connection than the first, or on another one where the client need not have the answer: its
//! connection ended with no later call on it, or does not acknowledge what was sent
//! ([`super::link::Link::has_delivered`]). Any other call is a new one, and runs. While a first
//! call runs, all with the same words wait for its answer.
//!
//! *What its client did since.* A client that calls about the same again (the name in its
//! directory, the file whose attributes were set, the bytes of the lock's owner), and is served,
//! has had the answer: it is forgotten ([`Once::ended_by`]). Clients ask about one thing one call
//! at a time; the kernels of clients lock the directory or the file for that. What comes again
//! after this was long under way: from a connection that is older than the first one's or that the
//! client has closed, or as a datagram for [`LATE`](super::answers::LATE), it is dropped without an
//! answer. Otherwise its client means it, and it runs: an UNLOCK that is needed again releases.
//!
//! *What the answer says.* "Locked" is never told from memory: a repeated LOCK or SHARE runs again,
//! which changes nothing while the lock is held or awaited, and tells the truth where it was taken
//! back ([`Repeat::Runs`]). "Made" (CREATE, MKDIR, SYMLINK, MKNOD, LINK) is told again while the
//! name still leads to what was made, whoever took it away, on this machine or through us
//! ([`Repeat::Checked`]). "Gone" and "set" (REMOVE, RMDIR, RENAME, SETATTR, UNLOCK, CANCEL,
//! UNSHARE, FREE_ALL) are told again whatever others did since: to run again would take theirs
//! ([`Repeat::Answered`]). "Ask again" and faults are not kept.
//!
//! What still runs is never forgotten, and bounded by what the listener lets run.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use cleat_rpc::{Credential, Fault, Reply, Writer};
use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

use super::answers::{Answers, Found, Key, Source};
use super::once::{Once, Outcome};
use super::program::{Answer, Call, Program};

/// How full the cache is, and what it was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DuplicateCounts {
    /// Answers kept now; [`super::ANSWERS_MAX`] at most.
    pub answers: usize,
    /// Addresses (IPv6: networks of 64 bits) that they are of.
    pub clients: usize,
    /// Calls since the start that were repetitions.
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

/// What a call gets.
pub(crate) enum Given {
    /// It runs for the first time, as far as anybody knows.
    First(Answer),
    /// It is a repetition.
    Again(Answer),
    /// Nobody waits for its answer.
    Nothing,
}

/// A call that runs, until its answer is there.
struct Run {
    answers: Arc<Mutex<Answers>>,
    key: Key,
    program: Arc<dyn Program>,
    version: u32,
    procedure: u32,
    ended: bool,
}

impl Duplicates {
    pub(crate) fn new() -> Self {
        let seed = uuid::Uuid::new_v4().as_u64_pair();
        Self { answers: Arc::default(), seed }
    }

    /// Answers a call that changes something: by the program, unless it was run before.
    pub(crate) fn answer(&self, call: Call, once: &Once, program: &Arc<dyn Program>) -> Given {
        let key = self.key(&call);
        let (transport, port, link) = (call.transport, call.peer.port(), call.link.clone());
        let from = Source { transport, port, link };
        let found = lock(&self.answers).find(key, &from, once, Instant::now());
        let (version, procedure) = (call.header.version, call.header.procedure);
        let (answers, program) = (Arc::clone(&self.answers), Arc::clone(program));
        let run = || Run { answers, key, program, version, procedure, ended: false };
        match found {
            Found::Late => Given::Nothing,
            Found::Answered(kept) => Given::Again(Answer::Now(Ok(Writer::from(kept)))),
            Found::Runs(answer) => Given::Again(Answer::later(async move {
                // Where the first ended without an answer the client will ask once more.
                answer.await.unwrap_or(Err(Fault::SystemError)).map(Writer::from)
            })),
            Found::First { again } => {
                let run = run();
                let answer = match Arc::clone(&run.program).call(call) {
                    Answer::Now(reply) => Answer::Now(run.ends(reply)),
                    Answer::Later(reply) => Answer::later(async move { run.ends(reply.await) }),
                };
                if again { Given::Again(answer) } else { Given::First(answer) }
            }
            Found::Check(kept) => {
                let run = run();
                Given::Again(Answer::later(async move { run.checked(call, kept).await }))
            }
        }
    }

    pub(super) fn count(&self) -> DuplicateCounts {
        let (answers, clients, repeated) = lock(&self.answers).counts();
        DuplicateCounts { answers, clients, repeated }
    }

    fn key(&self, call: &Call) -> Key {
        let mut hasher = SipHasher13::new_with_keys(self.seed.0, self.seed.1);
        let header = &call.header;
        for word in [header.xid, header.program, header.version, header.procedure] {
            hasher.write_u32(word);
        }
        // A client counts its xids for each address of ours and each transport by itself, and tells
        // lock owners apart by these two.
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
    /// Answers as the first time where that is still so, and else as if this were the first time.
    async fn checked(self, call: Call, kept: Bytes) -> Reply {
        if self.program.still_so(call.clone(), kept.clone()).await {
            return self.ends(Ok(Writer::from(kept)));
        }
        let reply = match self.program.call(call) {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        self.ends(reply)
    }

    fn ends(mut self, reply: Reply) -> Reply {
        let answer = reply.map(Writer::into_bytes);
        let outcome = match &answer {
            Ok(results) => self.program.outcome(self.version, self.procedure, results),
            Err(_) => Outcome::AskAgain,
        };
        self.ended = true;
        lock(&self.answers).keep(self.key, &answer, outcome, Instant::now());
        answer.map(Writer::from)
    }
}

impl Drop for Run {
    /// Where it ended without an answer, the next such call is the first again.
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.answers).give_up(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;
    use std::sync::Mutex;

    use super::super::answers::ANSWER_BYTES_MAX;
    use super::super::link::Link;
    use super::super::once::Repeat;
    use super::super::program::Transport;
    use super::*;
    use cleat_rpc::{AuthSys, CallHeader};
    use tokio::sync::oneshot;

    /// Answers with what it is given to answer with, in turn, and says whether that is so still.
    struct Told(Mutex<Vec<Answer>>, bool);

    impl Program for Told {
        fn number(&self) -> u32 {
            7
        }

        fn versions(&self) -> RangeInclusive<u32> {
            1..=1
        }

        fn still_so(
            &self,
            _: Call,
            _: Bytes,
        ) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> {
            Box::pin(std::future::ready(self.1))
        }

        fn call(&self, _: Call) -> Answer {
            self.0.lock().expect("not poisoned").pop().expect("it does not run")
        }
    }

    fn told(mut answers: Vec<Answer>, still_so: bool) -> Arc<dyn Program> {
        answers.reverse();
        Arc::new(Told(Mutex::new(answers), still_so))
    }

    fn call(port: u16, server: u8, transport: Transport, uid: u32, stamp: u32) -> Call {
        let sys = AuthSys { uid, stamp, ..AuthSys::default() };
        let credential = Credential::Sys(sys);
        Call {
            header: CallHeader { xid: 7, program: 100_021, version: 4, procedure: 2, credential },
            peer: ([10, 0, 0, 2], port).into(),
            local: ([10, 0, 1, server], 2049).into(),
            transport,
            link: Link::default(),
            arguments: Bytes::from_static(b"arguments"),
        }
    }

    fn same() -> Call {
        call(700, 1, Transport::Udp, 1000, 1)
    }

    fn once(repeat: Repeat) -> Once {
        Once::new(repeat, Vec::new())
    }

    #[test]
    fn the_same_words_come_the_same_way_as_the_same_user() {
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
            Call { header: next, ..call(700, 1, Tcp, 1000, 1) },
        ] {
            assert_ne!(duplicates.key(&other), first);
        }
    }

    #[test]
    fn repetitions_are_counted() {
        let duplicates = Duplicates::new();
        for (uid, port) in [(1, 700), (1, 700), (2, 700), (1, 700), (2, 800)] {
            let call = call(port, 1, Transport::Udp, uid, 1);
            let program = told(vec![Answer::Now(of_length(0))], true);
            drop(duplicates.answer(call, &once(Repeat::Answered), &program));
        }
        let counts = DuplicateCounts { answers: 2, clients: 1, repeated: 2 };
        assert_eq!(duplicates.count(), counts);
    }

    /// The length of an answer, and whether it was a repetition's.
    async fn bytes(given: Given) -> (Result<usize, Fault>, bool) {
        let (answer, again) = match given {
            Given::First(answer) => (answer, false),
            Given::Again(answer) => (answer, true),
            Given::Nothing => unreachable!("it has an answer"),
        };
        let reply = match answer {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        (reply.map(|results| results.len()), again)
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
            let (duplicates, once) = (Duplicates::new(), once(Repeat::Answered));
            let (go, gone) = oneshot::channel::<()>();
            let slow = Answer::later(async move {
                gone.await.expect("told to go");
                of_length(length)
            });
            let program = told(vec![slow, Answer::Now(of_length(1))], true);
            let first = duplicates.answer(same(), &once, &program);
            // From any port, while the first one runs.
            let second = duplicates.answer(call(800, 1, Transport::Udp, 1000, 1), &once, &program);
            go.send(()).expect("it waits");
            assert_eq!(bytes(first).await, (Ok(length), false));
            assert_eq!(bytes(second).await, (Ok(length), true));
            let again = bytes(duplicates.answer(same(), &once, &program)).await;
            assert_eq!(again, if runs_again { (Ok(1), false) } else { (Ok(length), true) });
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_so_runs_again_and_is_kept_anew() {
        for (repeat, still_so, again) in [
            (Repeat::Answered, false, 1),
            (Repeat::Checked, true, 1),
            (Repeat::Checked, false, 2),
            (Repeat::Runs, true, 2),
        ] {
            let (duplicates, once) = (Duplicates::new(), once(repeat));
            let answers = (1..4).map(|length| Answer::Now(of_length(length))).collect();
            let program = told(answers, still_so);
            assert_eq!(bytes(duplicates.answer(same(), &once, &program)).await, (Ok(1), false));
            let second = bytes(duplicates.answer(same(), &once, &program)).await;
            assert_eq!(second, (Ok(again), true), "{repeat:?}");
            assert_eq!(duplicates.count().answers, 1);
            // Another port's is no repetition.
            let other = call(800, 1, Transport::Udp, 1000, 1);
            let third = bytes(duplicates.answer(other, &once, &program)).await;
            assert_eq!(third, (Ok(again + 1), false), "{repeat:?}");
        }
    }

    #[tokio::test]
    async fn a_fault_is_not_kept() {
        let (duplicates, once) = (Duplicates::new(), once(Repeat::Answered));
        let faults = [Err(Fault::SystemError), of_length(1)].map(Answer::Now);
        let program = told(faults.into(), true);
        let first = bytes(duplicates.answer(same(), &once, &program)).await;
        assert_eq!(first, (Err(Fault::SystemError), false));
        assert_eq!(bytes(duplicates.answer(same(), &once, &program)).await, (Ok(1), false));
    }

    #[tokio::test]
    async fn a_call_that_ends_without_an_answer_may_run_again() {
        let (duplicates, once) = (Duplicates::new(), once(Repeat::Answered));
        let never = Answer::later(std::future::pending());
        let program = told(vec![never, Answer::Now(of_length(1))], true);
        let first = duplicates.answer(same(), &once, &program);
        let second = duplicates.answer(same(), &once, &program);
        drop(first);
        assert_eq!(bytes(second).await, (Err(Fault::SystemError), true));
        assert_eq!(bytes(duplicates.answer(same(), &once, &program)).await, (Ok(1), false));
    }
}
