//! NFS version 3 (RFC 1813): the program that the listener calls, and its 22 procedures.
//!
//! A procedure is a plain function from its arguments to its reply. It blocks, so it runs on a
//! thread that may. It resolves the handle (which judges the caller), refuses what no file
//! system could allow, calls the file system, and writes what came of it.

mod args;
mod attr;
mod create;
mod data;
mod dir;
mod fs;
mod name;
mod once;
pub mod status;
mod wire;

#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use cleat_rpc::{Fault, Reply, Writer};

use self::status::Status;
use self::wire::{HANDLE_BYTES_MAX, Handle};
use crate::disk::{Disk, Unfinished};
use crate::exports::{Exports, Refusal, Target};
pub use crate::rpc_server::IO_BYTES_MAX;
use crate::rpc_server::{
    Answer, Call, Once, Outcome, Program, SMALL_REPLY_BYTES_MAX, Transport, Work,
};
use crate::vfs::FileHandle;

/// The program's number (RFC 1813 2.2).
pub const PROGRAM: u32 = 100_003;
/// The version served.
pub const VERSION: u32 = 3;

/// The procedures' numbers (RFC 1813 3.3).
#[allow(missing_docs, reason = "each is its name")]
pub mod procedure {
    pub const NULL: u32 = 0;
    pub const GETATTR: u32 = 1;
    pub const SETATTR: u32 = 2;
    pub const LOOKUP: u32 = 3;
    pub const ACCESS: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const READ: u32 = 6;
    pub const WRITE: u32 = 7;
    pub const CREATE: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const SYMLINK: u32 = 10;
    pub const MKNOD: u32 = 11;
    pub const REMOVE: u32 = 12;
    pub const RMDIR: u32 = 13;
    pub const RENAME: u32 = 14;
    pub const LINK: u32 = 15;
    pub const READDIR: u32 = 16;
    pub const READDIRPLUS: u32 = 17;
    pub const FSSTAT: u32 = 18;
    pub const FSINFO: u32 = 19;
    pub const PATHCONF: u32 = 20;
    pub const COMMIT: u32 = 21;
}

/// From handles on the wire to files and back: what the procedures need of [`Exports`].
trait Handles: Send + Sync {
    fn resolve(&self, handle: &[u8], call: &Call) -> Result<Target, Refusal>;
    fn wire_handle(&self, beside: &Target, file: &FileHandle) -> Vec<u8>;
    fn disk(&self, handle: &[u8]) -> Option<&Disk>;
}

impl Handles for Exports {
    fn resolve(&self, handle: &[u8], call: &Call) -> Result<Target, Refusal> {
        Self::resolve(self, handle, call)
    }

    fn wire_handle(&self, beside: &Target, file: &FileHandle) -> Vec<u8> {
        Self::wire_handle(self, beside, file)
    }

    fn disk(&self, handle: &[u8]) -> Option<&Disk> {
        Self::disk(self, handle)
    }
}

/// The handles of a disk that hangs: by them every procedure says in its own form that its client
/// is to ask again.
struct Hanging;

impl Handles for Hanging {
    fn resolve(&self, _: &[u8], _: &Call) -> Result<Target, Refusal> {
        Err(Refusal::Hangs)
    }

    fn wire_handle(&self, _: &Target, _: &FileHandle) -> Vec<u8> {
        Vec::new()
    }

    fn disk(&self, _: &[u8]) -> Option<&Disk> {
        None
    }
}

/// The NFS program.
#[derive(Clone)]
pub struct Nfs {
    handles: Arc<dyn Handles>,
}

impl Nfs {
    /// Serves these exports.
    #[must_use]
    pub fn new(exports: Arc<Exports>) -> Self {
        Self { handles: exports }
    }

    /// Answers what is certain not to block. Work on what is cached belongs here too once a file
    /// system can tell that it is; all else goes to [`Self::run`] on a thread that may block.
    fn at_once(call: &Call) -> Option<Reply> {
        match call.header.procedure {
            procedure::NULL => Some(Ok(Writer::new())),
            procedure::GETATTR..=procedure::COMMIT => None,
            _ => Some(Err(Fault::ProcedureUnavailable)),
        }
    }

    /// Runs one procedure to its end. What is left over behind the arguments is not looked at,
    /// as no other server looks at it either.
    fn run(&self, call: &Call) -> Reply {
        self.run_on(&*self.handles, call)
    }

    fn run_on(&self, handles: &dyn Handles, call: &Call) -> Reply {
        let request = Request { handles, call };
        let mut args = call.arguments();
        Ok(match call.header.procedure {
            procedure::NULL => Writer::new(),
            procedure::GETATTR => attr::getattr(&request, args.get()?),
            procedure::SETATTR => attr::setattr(&request, &args.get()?),
            procedure::LOOKUP => name::lookup(&request, args.get()?),
            procedure::ACCESS => attr::access(&request, args.get()?),
            procedure::READLINK => data::readlink(&request, args.get()?),
            procedure::READ => data::read(&request, args.get()?),
            procedure::WRITE => data::write(&request, &args.get()?),
            procedure::CREATE => create::create(&request, &args.get()?),
            procedure::MKDIR => create::mkdir(&request, &args.get()?),
            procedure::SYMLINK => create::symlink(&request, &args.get()?),
            procedure::MKNOD => create::mknod(&request, &args.get()?),
            procedure::REMOVE => name::remove(&request, args.get()?),
            procedure::RMDIR => name::rmdir(&request, args.get()?),
            procedure::RENAME => name::rename(&request, &args.get()?),
            procedure::LINK => name::link(&request, &args.get()?),
            procedure::READDIR => dir::readdir(&request, &args.get()?),
            procedure::READDIRPLUS => dir::readdirplus(&request, &args.get()?),
            procedure::FSSTAT => fs::fsstat(&request, args.get()?),
            procedure::FSINFO => fs::fsinfo(&request, args.get()?),
            procedure::PATHCONF => fs::pathconf(&request, args.get()?),
            procedure::COMMIT => data::commit(&request, args.get()?),
            _ => return Err(Fault::ProcedureUnavailable),
        })
    }
}

impl Program for Nfs {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        VERSION..=VERSION
    }

    /// A reply of [`IO_BYTES_MAX`] fits no datagram.
    fn is_served_over(&self, transport: Transport) -> bool {
        transport == Transport::Tcp
    }

    fn once(&self, call: &Call) -> Option<Once> {
        once::once(call)
    }

    fn outcome(&self, _version: u32, _procedure: u32, results: &Bytes) -> Outcome {
        once::outcome(results)
    }

    /// Whether the name still leads to what the call made: it may have been taken away through us,
    /// or on this machine.
    fn still_so(&self, call: Call, results: Bytes) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let (nfs, procedure) = (self.clone(), call.header.procedure);
        Box::pin(async move {
            let Some(lookup) = once::lookup(call, &results) else { return true };
            let found = match nfs.call(lookup) {
                Answer::Now(found) => found,
                Answer::Later(found) => found.await,
            };
            found.is_ok_and(|found| once::is_found(procedure, &results, &found.into_bytes()))
        })
    }

    fn reply_bytes_max(&self, call: &Call) -> usize {
        let mut args = call.arguments();
        let asked = match call.header.procedure {
            procedure::READ => args.get().map(|args: args::Range<'_>| args.count),
            procedure::READDIR => args.get().map(|args: args::ReadDir<'_>| args.bytes_max),
            procedure::READDIRPLUS => args.get().map(|args: args::ReadDirPlus<'_>| args.bytes_max),
            _ => return SMALL_REPLY_BYTES_MAX,
        };
        asked.unwrap_or_default().min(IO_BYTES_MAX) as usize
    }

    fn call(&self, call: Call) -> Answer {
        if let Some(reply) = Self::at_once(&call) {
            return Answer::Now(reply);
        }
        // The first of the arguments of all of them; a second is in the same export, or refused.
        let handle = call.arguments().opaque(HANDLE_BYTES_MAX).ok();
        let Some(disk) = handle.and_then(|handle| self.handles.disk(handle)).cloned() else {
            return Answer::Now(self.run(&call));
        };
        let (nfs, call) = (self.clone(), Arc::new(call));
        Answer::later(async move {
            let run = {
                let (nfs, call) = (nfs.clone(), Arc::clone(&call));
                move || nfs.run(&call)
            };
            match disk.run(Work::Files, run).await {
                Ok(reply) => reply,
                Err(Unfinished::Hangs) => nfs.run_on(&Hanging, &call),
                Err(Unfinished::Panicked) => Err(Fault::SystemError),
            }
        })
    }
}

/// One call, with what its procedure may ask of the server.
struct Request<'a> {
    handles: &'a dyn Handles,
    call: &'a Call,
}

impl Request<'_> {
    /// The file that a handle names, and the caller as the export sees it.
    fn target(&self, handle: Handle<'_>) -> Result<Target, Status> {
        self.handles.resolve(handle.0, self.call).map_err(Status::from)
    }

    /// The same for a procedure that changes something.
    fn writable(&self, handle: Handle<'_>) -> Result<Target, Status> {
        let target = self.target(handle)?;
        if target.read_only { Err(Status::Rofs) } else { Ok(target) }
    }

    /// A handle to send, of a file in the same export as `beside`.
    fn wire_handle(&self, beside: &Target, file: &FileHandle) -> Vec<u8> {
        self.handles.wire_handle(beside, file)
    }

    /// Writes a result: NFS3_OK and what `ok` writes, or the status and what `fail` writes.
    fn answer<T>(
        &self,
        result: Result<T, Status>,
        ok: impl FnOnce(&mut Writer, T),
        fail: impl FnOnce(&mut Writer),
    ) -> Writer {
        let mut writer = Writer::new();
        match result {
            Ok(value) => {
                writer.u32(0);
                ok(&mut writer, value);
            }
            Err(status) => {
                let procedure = self.call.header.procedure;
                writer.u32(status.within(procedure) as u32);
                fail(&mut writer);
            }
        }
        writer
    }
}
