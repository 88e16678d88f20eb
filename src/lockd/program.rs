//! NLM as a program of the listener: a call becomes a lock request, its outcome the answer.

use std::ops::RangeInclusive;
use std::sync::Arc;

use cleat_lock::{FileId, Input, Mode, Outcome};
use cleat_nlm::wire::{
    CancelArgs, Lock, LockArgs, Notify, PROGRAM, TestArgs, UnlockArgs, VERSION_4, procedure,
};
use cleat_nlm::{Origin, Refusal, procedures, v4};
use cleat_rpc::{Decode, Fault, Reader, Reply, Writer};

use super::driver::Lockd;
use super::nlm_transport;
use crate::exports::{self, Exports};
use crate::rpc_server::{self, Answer, Program};
use crate::vfs::{ACCESS_EXTEND, ACCESS_MODIFY, ACCESS_READ, FsError, Kind};

/// The NLM program.
#[derive(Clone)]
pub struct Nlm {
    exports: Arc<Exports>,
    lockd: Lockd,
}

/// What a call wants of the file, and so what its caller must be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// To lock it in this mode, or to know whether that could be.
    Lock(Mode),
    /// To give something up: nothing about the file forbids that, not even that it is gone.
    Release,
}

/// A file that may be locked, and the export it was reached through.
struct Found {
    file: FileId,
    share_name: Arc<str>,
}

impl Nlm {
    /// Locks files of these exports by this lock service.
    #[must_use]
    pub fn new(exports: Arc<Exports>, lockd: Lockd) -> Self {
        Self { exports, lockd }
    }

    async fn run(self, call: rpc_server::Call) -> Reply {
        let mut results = Writer::new();
        match call.header.procedure {
            procedure::TEST => {
                let args: TestArgs<'_> = arguments(&call)?;
                let want = Want::Lock(mode(args.exclusive));
                match self.ask(&call, &args.lock, want, |c| procedures::test(&args, c)).await {
                    Ok(outcome) => results.put(&v4::test_res(args.cookie, &outcome)),
                    Err(refusal) => results.put(&v4::test_refused(args.cookie, refusal)),
                }
            }
            procedure::LOCK => {
                let args: LockArgs<'_> = arguments(&call)?;
                let want = Want::Lock(mode(args.exclusive));
                match self.ask(&call, &args.lock, want, |c| procedures::lock(&args, c)).await {
                    Ok(outcome) => results.put(&v4::lock_res(args.cookie, &outcome)),
                    Err(refusal) => results.put(&v4::refused(args.cookie, refusal)),
                }
            }
            procedure::CANCEL => {
                let args: CancelArgs<'_> = arguments(&call)?;
                let make = |c: &procedures::Call<'_>| procedures::cancel(&args, c);
                match self.ask(&call, &args.lock, Want::Release, make).await {
                    Ok(outcome) => results.put(&v4::cancel_res(args.cookie, &outcome)),
                    Err(refusal) => results.put(&v4::refused(args.cookie, refusal)),
                }
            }
            procedure::UNLOCK => {
                let args: UnlockArgs<'_> = arguments(&call)?;
                let make = |c: &procedures::Call<'_>| procedures::unlock(&args, c);
                match self.ask(&call, &args.lock, Want::Release, make).await {
                    Ok(outcome) => results.put(&v4::unlock_res(args.cookie, &outcome)),
                    Err(Refusal::NotRecorded) => {
                        results.put(&v4::refused(args.cookie, Refusal::UnlockNotRecorded));
                    }
                    Err(refusal) => results.put(&v4::refused(args.cookie, refusal)),
                }
            }
            procedure::GRANTED => results.put(&v4::granted_res(&arguments(&call)?)),
            procedure::FREE_ALL => {
                let args: Notify<'_> = arguments(&call)?;
                let client = call.peer.ip();
                let (token, _) = self.lockd.ticket();
                let freed = self.lockd.ask(procedures::free_all(&args, client, token)).await;
                freed.ok_or(Fault::SystemError)?;
            }
            _ => return Err(Fault::ProcedureUnavailable),
        }
        Ok(results)
    }

    /// Finds the file, judges the caller, and puts the request to the core.
    async fn ask(
        &self,
        call: &rpc_server::Call,
        lock: &Lock<'_>,
        want: Want,
        make: impl Fn(&procedures::Call<'_>) -> Result<Input, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let Found { file, share_name } = self.find(call, lock.fh, want).await?;
        let origin = origin(call, lock.caller_name);
        // Only who asks for a lock becomes a client.
        let locking = match call.header.procedure {
            procedure::LOCK => {
                Some(self.lockd.contacts().begin(&origin).ok_or(Refusal::TooManyClients)?)
            }
            _ => None,
        };
        let (token, id) = self.lockd.ticket();
        let request = procedures::Call {
            token,
            id,
            origin: &origin,
            version: call.header.version,
            file,
            share_name,
            contact: locking.as_ref().map_or_else(Arc::default, |locking| locking.bytes.clone()),
            now_ms: self.lockd.now_ms(),
        };
        self.lockd.ask(make(&request)?).await.ok_or(Refusal::NotRecorded)
    }

    async fn find(&self, call: &rpc_server::Call, fh: &[u8], want: Want) -> Result<Found, Refusal> {
        let (exports, call, fh) = (Arc::clone(&self.exports), call.clone(), fh.to_vec());
        tokio::task::spawn_blocking(move || find(&exports, &call, &fh, want))
            .await
            .unwrap_or(Err(Refusal::Failed))
    }
}

fn arguments<'a, T: Decode<'a>>(call: &'a rpc_server::Call) -> Result<T, Fault> {
    let mut reader: Reader<'a> = call.arguments();
    Ok(reader.get()?)
}

const fn mode(exclusive: bool) -> Mode {
    if exclusive { Mode::Exclusive } else { Mode::Shared }
}

fn origin(call: &rpc_server::Call, caller_name: &[u8]) -> Origin {
    let transport = nlm_transport(call.transport);
    Origin::new(caller_name, call.peer.ip(), call.local.ip(), transport)
}

/// Finds the file that a handle names and judges whether this caller may do this with its locks.
/// It may block.
fn find(
    exports: &Exports,
    call: &rpc_server::Call,
    fh: &[u8],
    want: Want,
) -> Result<Found, Refusal> {
    let target = exports.resolve(fh, call).map_err(|refusal| match refusal {
        exports::Refusal::BadHandle | exports::Refusal::Stale => Refusal::StaleHandle,
        exports::Refusal::Access => Refusal::Access,
    })?;
    let failed = |error| match error {
        FsError::Stale | FsError::BadHandle => Refusal::StaleHandle,
        _ => Refusal::Failed,
    };
    let identity = target.fs.identity(&target.file).map_err(failed)?;
    if let Want::Lock(mode) = want {
        if target.read_only && mode == Mode::Exclusive {
            return Err(Refusal::ReadOnly);
        }
        // Who may read or write the file may lock it, in any mode, as in Linux's nfsd; and its
        // owner always (RFC 1813 4.4).
        let wanted = ACCESS_READ | ACCESS_MODIFY | ACCESS_EXTEND;
        let mut after = None;
        let granted =
            target.fs.access(&target.who, &target.file, wanted, &mut after).map_err(failed)?;
        let attributes = after.ok_or(Refusal::Failed)?;
        if attributes.kind != Kind::Regular {
            return Err(Refusal::NotLockable);
        }
        if granted == 0 && attributes.uid != target.who.uid {
            return Err(Refusal::Access);
        }
    }
    Ok(Found { file: FileId::new(identity.0), share_name: exports.name(target.export) })
}

impl Program for Nlm {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION_4..=VERSION_4
    }

    /// A LOCK that is late and comes a second time, behind the UNLOCK that followed it, must not
    /// lock for an owner who no longer knows of it.
    fn runs_once(&self, _version: u32, procedure: u32) -> bool {
        use procedure::{CANCEL, FREE_ALL, LOCK, UNLOCK};
        matches!(procedure, LOCK | CANCEL | UNLOCK | FREE_ALL)
    }

    fn call(&self, call: rpc_server::Call) -> Answer {
        match call.header.procedure {
            procedure::NULL => Answer::Now(Ok(Writer::new())),
            _ => Answer::later(self.clone().run(call)),
        }
    }
}
