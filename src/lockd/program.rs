//! NLM as a program of the listener: a call becomes a lock request, its outcome the answer.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use cleat_lock::{Input, Mode, Outcome};
use cleat_nlm::granted::Ticket;
use cleat_nlm::wire::{
    CancelArgs, Lock, LockArgs, Notify, PROGRAM, Res, Share, ShareArgs, Stat, TestArgs, TestRes,
    UnlockArgs,
};
use cleat_nlm::{Message, Operation, Origin, Procedure, Refusal, Version, answers, procedures};
use cleat_rpc::{AuthStat, Fault, Reply, Writer};
use tokio::sync::mpsc;
use tracing::{debug, info};

use super::driver::Lockd;
use super::file::{Found, Want, find, find_at_once};
use super::nlm_transport;
use super::once;
use super::patience::Patience;
use super::results::Results;
use super::turns::{Owner, Place, Turn, Turns};
use crate::disk::Unfinished;
use crate::exports::Exports;
use crate::rpc_server::duplicates::{Duplicates, Given};
use crate::rpc_server::{self, Answer, Once, Program, Work};
use crate::seldom::Seldom;

/// When a client may ask again whose file's disk hangs. No client is told.
const ASK_AGAIN_MS: u64 = 5000;

/// NLM_GRANTED_RES: a client's word on a grant that was sent as a message.
#[derive(Debug, Clone, Copy)]
pub struct GrantedResult {
    /// Where it came from.
    pub client: IpAddr,
    /// The message that its cookie names.
    pub ticket: Ticket,
    /// The word.
    pub stat: Stat,
}

/// The NLM program.
#[derive(Clone)]
pub struct Nlm {
    exports: Arc<Exports>,
    lockd: Lockd,
    results: Results,
    grants: mpsc::Sender<GrantedResult>,
    /// What messages came to: one that is sent again must be answered alike, by one more result.
    messages: Arc<Duplicates>,
    turns: Arc<Turns>,
    patience: Arc<Patience>,
    /// A FREE_ALL came that any user may have sent.
    forged: Arc<Seldom>,
}

/// A call of a procedure that its version has.
struct Request {
    call: rpc_server::Call,
    version: Version,
    procedure: Procedure,
    /// Where it may not overtake others.
    turn: Option<Turn>,
}

/// Who asks for what of which file.
struct Asked<'a> {
    caller_name: &'a [u8],
    fh: &'a [u8],
    want: Want,
    /// Whether its client is put on record, to be told when we restart.
    monitored: bool,
    /// Whether it takes again what it held: to be told to ask later, it would take for a refusal.
    reclaims: bool,
}

impl Request {
    fn new(call: rpc_server::Call) -> Result<Self, Fault> {
        let version = Version::of(call.header.version);
        let version = version.ok_or(Fault::ProgramMismatch { low: 1, high: 4 })?;
        let procedure = Procedure::of(version, call.header.procedure);
        let procedure = procedure.ok_or(Fault::ProcedureUnavailable)?;
        Ok(Self::of(call, version, procedure))
    }

    const fn of(call: rpc_server::Call, version: Version, procedure: Procedure) -> Self {
        Self { call, version, procedure, turn: None }
    }

    fn arguments<'a, T: Message<'a>>(&'a self) -> Result<T, Fault> {
        Ok(T::read(&mut self.call.arguments(), self.version)?)
    }

    /// Whether a message or a result can be read, which nobody is told after it was accepted.
    fn check(&self) -> Result<(), Fault> {
        use Operation::{Cancel, Granted, Lock, Test, Unlock};
        match self.procedure {
            Procedure::Message(Test | Granted) => self.arguments::<TestArgs<'_>>().map(drop),
            Procedure::Message(Lock) => self.arguments::<LockArgs<'_>>().map(drop),
            Procedure::Message(Cancel) => self.arguments::<CancelArgs<'_>>().map(drop),
            Procedure::Message(Unlock) => self.arguments::<UnlockArgs<'_>>().map(drop),
            Procedure::Result(Test) => self.arguments::<TestRes<'_>>().map(drop),
            Procedure::Result(_) => self.arguments::<Res<'_>>().map(drop),
            _ => Ok(()),
        }
    }

    /// The place in the order of a call that must not overtake another: whatever takes a lock or
    /// gives one up.
    fn place(&self) -> Option<Place> {
        let of_lock = |lock: Lock<'_>| (lock.fh.to_vec(), Owner::Lock(lock.svid));
        let of_share = |share: Share<'_>| (share.fh.to_vec(), Owner::Share(share.oh.to_vec()));
        let found = match self.procedure {
            Procedure::Call(operation) | Procedure::Message(operation) => match operation {
                Operation::Lock => self.arguments().map(|args: LockArgs<'_>| of_lock(args.lock)),
                Operation::Cancel => {
                    self.arguments().map(|args: CancelArgs<'_>| of_lock(args.lock))
                }
                Operation::Unlock => {
                    self.arguments().map(|args: UnlockArgs<'_>| of_lock(args.lock))
                }
                Operation::Test | Operation::Granted => return None,
            },
            Procedure::NmLock => self.arguments().map(|args: LockArgs<'_>| of_lock(args.lock)),
            Procedure::Share | Procedure::Unshare => {
                self.arguments().map(|args: ShareArgs<'_>| of_share(args.share))
            }
            _ => return None,
        };
        let (fh, owner) = found.ok()?;
        Some(Place { client: self.call.peer.ip(), fh, owner })
    }

    fn answer<'a>(&self, message: &impl Message<'a>) -> Reply {
        let mut results = Writer::new();
        message.write(&mut results, self.version);
        Ok(results)
    }
}

const fn mode(exclusive: bool) -> Mode {
    if exclusive { Mode::Exclusive } else { Mode::Shared }
}

impl Nlm {
    /// Locks files of these exports by this lock service; results of messages go out by `results`,
    /// and what clients say of grants to `grants`.
    #[must_use]
    pub fn new(
        exports: Arc<Exports>,
        lockd: Lockd,
        results: Results,
        grants: mpsc::Sender<GrantedResult>,
    ) -> Self {
        let (messages, turns, forged) =
            (Arc::new(Duplicates::new()), Arc::default(), Arc::default());
        let patience = Arc::new(lockd.patience());
        Self { exports, lockd, results, grants, messages, turns, patience, forged }
    }

    /// Begins a procedure: its place among the others is taken before this returns.
    fn begin(&self, mut request: Request) -> Answer {
        request.turn = request.place().map(|place| self.turns.take(place));
        Answer::later(self.clone().run(request))
    }

    /// Runs a procedure and returns its results; those of a message are the same as its called
    /// form's.
    async fn run(self, request: Request) -> Reply {
        match request.procedure {
            Procedure::Call(operation) | Procedure::Message(operation) => match operation {
                Operation::Test => self.test(&request).await,
                Operation::Lock => self.lock(&request, true).await,
                Operation::Cancel => self.cancel(&request).await,
                Operation::Unlock => self.unlock(&request).await,
                Operation::Granted => request.answer(&answers::granted_res(&request.arguments()?)),
            },
            Procedure::NmLock => self.lock(&request, false).await,
            Procedure::Share => self.share(&request).await,
            Procedure::Unshare => self.unshare(&request).await,
            Procedure::FreeAll => self.free_all(&request).await,
            Procedure::Null | Procedure::Result(_) => Ok(Writer::new()),
        }
    }

    async fn test(&self, request: &Request) -> Reply {
        let args: TestArgs<'_> = request.arguments()?;
        let (lock, want) = (&args.lock, Want::Lock(mode(args.exclusive)));
        let (caller_name, fh) = (lock.caller_name, lock.fh);
        let asked = Asked { caller_name, fh, want, monitored: false, reclaims: false };
        let ended = self.ask(request, asked, |call| procedures::test(&args, call)).await;
        request.answer(&answers::test_res(request.version, args.cookie, &ended))
    }

    async fn lock(&self, request: &Request, monitored: bool) -> Reply {
        let args: LockArgs<'_> = request.arguments()?;
        if !args.reclaim {
            self.patience.closed(request.call.peer.ip()).await;
        }
        let (lock, want) = (&args.lock, Want::Lock(mode(args.exclusive)));
        let (caller_name, fh, reclaims) = (lock.caller_name, lock.fh, args.reclaim);
        let asked = Asked { caller_name, fh, want, monitored, reclaims };
        let ended = self.ask(request, asked, |call| procedures::lock(&args, call)).await;
        request.answer(&answers::lock_res(request.version, args.cookie, &ended))
    }

    async fn cancel(&self, request: &Request) -> Reply {
        let args: CancelArgs<'_> = request.arguments()?;
        let asked = Asked::release(args.lock.caller_name, args.lock.fh);
        let ended = self.ask(request, asked, |call| procedures::cancel(&args, call)).await;
        request.answer(&answers::cancel_res(request.version, args.cookie, &ended))
    }

    async fn unlock(&self, request: &Request) -> Reply {
        let args: UnlockArgs<'_> = request.arguments()?;
        let asked = Asked::release(args.lock.caller_name, args.lock.fh);
        let ended = self.ask(request, asked, |call| procedures::unlock(&args, call)).await;
        request.answer(&answers::unlock_res(request.version, args.cookie, &ended))
    }

    async fn share(&self, request: &Request) -> Reply {
        let args: ShareArgs<'_> = request.arguments()?;
        let (share, want) = (&args.share, Want::Lock(mode(args.share.access.writes())));
        let (caller_name, fh, reclaims) = (share.caller_name, share.fh, args.reclaim);
        let asked = Asked { caller_name, fh, want, monitored: true, reclaims };
        let ended = self.ask(request, asked, |call| Ok(procedures::share(&args, call))).await;
        request.answer(&answers::share_res(request.version, args.cookie, &ended))
    }

    async fn unshare(&self, request: &Request) -> Reply {
        let args: ShareArgs<'_> = request.arguments()?;
        let asked = Asked::release(args.share.caller_name, args.share.fh);
        let ended = self.ask(request, asked, |call| Ok(procedures::unshare(&args, call))).await;
        request.answer(&answers::unshare_res(request.version, args.cookie, &ended))
    }

    async fn free_all(&self, request: &Request) -> Reply {
        let args: Notify<'_> = request.arguments()?;
        let peer = request.call.peer;
        if !self.exports.speaks_for_host(peer) {
            if let Some(times) = self.forged.happens() {
                info!(%peer, times, "FREE_ALL ignored: an export is \"secure\" to that host, and the \
                    call came from a port above 1023");
            }
            return Ok(Writer::new());
        }
        let (token, _) = self.lockd.ticket();
        let free_all = procedures::free_all(&args, request.call.peer.ip(), token);
        self.lockd.ask(free_all).await.ok_or(Fault::SystemError)?;
        Ok(Writer::new())
    }

    /// Finds the file, judges the caller, and puts the request to the core.
    async fn ask(
        &self,
        request: &Request,
        asked: Asked<'_>,
        make: impl Fn(&procedures::Call<'_>) -> Result<Input, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let (call, turn) = (&request.call, request.turn.as_ref());
        let Some(found) = self.find(call, &asked).await else {
            // The only word that NLM has for it: after it Linux, FreeBSD and macOS ask again.
            return Ok(Outcome::Grace { left_ms: ASK_AGAIN_MS });
        };
        let Found { file, share_name, refused } = found?;
        if let Some(turn) = turn {
            turn.come().await;
        }
        let transport = nlm_transport(call.transport);
        let origin = Origin::new(asked.caller_name, call.peer.ip(), call.local.ip(), transport);
        let locking = asked.monitored.then(|| self.lockd.contacts().begin(&origin));
        let (token, id) = self.lockd.ticket();
        let version = request.version;
        let put = |contact, incarnation| {
            make(&procedures::Call {
                token,
                id,
                origin: &origin,
                version,
                file,
                share_name,
                contact,
                incarnation,
            })
            .map(|input| if refused.is_some() { procedures::of_record(input) } else { input })
            .map(|input| self.lockd.put(input))
        };
        let outcome = match &locking {
            Some(locking) => locking.put(put)?,
            None => put(Arc::default(), 0)?,
        };
        turn.inspect(|turn| turn.pass());
        let outcome = outcome.await.map_err(|_| Refusal::NotRecorded)?;
        if let (Some(refusal), Outcome::ReclaimRefused) = (refused, &outcome) {
            return Err(refusal);
        }
        if let &Outcome::Limit { which, maximum, .. } = &outcome {
            self.lockd.refusals().note(which, maximum, &origin.client_id());
        }
        Ok(outcome)
    }

    /// `None` where the disk hangs.
    async fn find(
        &self,
        call: &rpc_server::Call,
        asked: &Asked<'_>,
    ) -> Option<Result<Found, Refusal>> {
        let &Asked { fh, want, reclaims, .. } = asked;
        if let Some(found) = find_at_once(&self.exports, call, fh, want) {
            return Some(found);
        }
        let Some(disk) = self.exports.disk(fh) else { return Some(Err(Refusal::StaleHandle)) };
        loop {
            let (exports, call, fh) = (Arc::clone(&self.exports), call.clone(), fh.to_vec());
            let find = move || find(&exports, &call, &fh, want, reclaims);
            match disk.run(Work::Locks, find).await {
                Ok(found) => return Some(found),
                Err(Unfinished::Hangs) if reclaims => {}
                Err(Unfinished::Hangs) => return None,
                Err(Unfinished::Panicked) => return Some(Err(Refusal::Failed)),
            }
        }
    }

    /// Takes a message: it is answered at once, and its result follows. Where too many of its
    /// client are pending it is not taken, and the client asks again. Who may use no export is not
    /// called: a datagram can say of any host that it came from there.
    fn accept(&self, request: Request, operation: Operation) -> Reply {
        if !self.exports.admits(request.call.peer) {
            return Err(Fault::Auth(AuthStat::TooWeak));
        }
        request.check()?;
        let call = request.call.clone();
        let place = self.results.place(call.peer.ip()).ok_or(Fault::SystemError)?;
        let (version, procedure) = (request.version, request.procedure);
        let called: Arc<dyn Program> = Arc::new(Called(self.clone()));
        let (answer, repeated) = match once::once(&call, version, procedure) {
            None => (self.begin(Request::of(call.clone(), version, procedure)), false),
            Some(once) => match self.messages.answer(call.clone(), &once, &called) {
                Given::First(answer) => (answer, false),
                Given::Again(answer) => (answer, true),
                Given::Nothing => return Ok(Writer::new()),
            },
        };
        let results = self.results.clone();
        tokio::spawn(async move {
            let reply = match answer {
                Answer::Now(reply) => reply,
                Answer::Later(reply) => reply.await,
            };
            if let Ok(body) = reply {
                results.send(place, &call, (version, operation), body.into_bytes(), repeated);
            }
        });
        Ok(Writer::new())
    }

    /// Takes a result. We send messages to grant, and no others.
    fn hear(&self, request: &Request) -> Reply {
        request.check()?;
        if request.procedure == Procedure::Result(Operation::Granted) {
            let result: Res<'_> = request.arguments()?;
            let client = request.call.peer.ip();
            let heard = Ticket::of_cookie(result.cookie).is_some_and(|ticket| {
                self.grants.try_send(GrantedResult { client, ticket, stat: result.stat }).is_ok()
            });
            debug!(%client, heard, stat = ?result.stat, "a client answers a grant by a message");
        }
        Ok(Writer::new())
    }
}

impl<'a> Asked<'a> {
    const fn release(caller_name: &'a [u8], fh: &'a [u8]) -> Self {
        Self { caller_name, fh, want: Want::Release, monitored: false, reclaims: false }
    }
}

impl Program for Nlm {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        Version::V1.number()..=Version::V4.number()
    }

    fn work(&self) -> Work {
        Work::Locks
    }

    /// Messages are answered with nothing, so it is their results that must not be made twice: see
    /// `Called`.
    fn once(&self, call: &rpc_server::Call) -> Option<Once> {
        let version = Version::of(call.header.version)?;
        let procedure = Procedure::of(version, call.header.procedure)?;
        if matches!(procedure, Procedure::Message(_)) {
            return None;
        }
        once::once(call, version, procedure)
    }

    fn outcome(&self, version: u32, procedure: u32, results: &Bytes) -> rpc_server::Outcome {
        let procedure = Version::of(version).and_then(|version| Procedure::of(version, procedure));
        procedure.map_or(rpc_server::Outcome::AskAgain, |one| once::outcome(one, results))
    }

    fn call(&self, call: rpc_server::Call) -> Answer {
        let request = match Request::new(call) {
            Ok(request) => request,
            Err(fault) => return Answer::Now(Err(fault)),
        };
        match request.procedure {
            Procedure::Null => Answer::Now(Ok(Writer::new())),
            Procedure::Message(operation) => Answer::Now(self.accept(request, operation)),
            Procedure::Result(_) => Answer::Now(self.hear(&request)),
            _ => self.begin(request),
        }
    }
}

/// Messages as a program that answers them by what their results tell.
struct Called(Nlm);

impl Program for Called {
    fn number(&self) -> u32 {
        self.0.number()
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.0.versions()
    }

    fn outcome(&self, version: u32, procedure: u32, results: &Bytes) -> rpc_server::Outcome {
        self.0.outcome(version, procedure, results)
    }

    fn call(&self, call: rpc_server::Call) -> Answer {
        match Request::new(call) {
            Ok(request) => self.0.begin(request),
            Err(fault) => Answer::Now(Err(fault)),
        }
    }
}
