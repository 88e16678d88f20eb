//! MOUNT as a program of the listener (RFC 1813 5).

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cleat_mount::wire::{self, MntResult, MountError, Procedure};
use cleat_mount::{ExportTable, MountTable};
use cleat_rpc::{Fault, Reply, Writer};

use crate::disk::Disk;
use crate::rpc_server::{Answer, Call, Program, SMALL_REPLY_BYTES_MAX, Transport, Work};
use crate::seldom::limited;

/// The largest list that is sent in answer to one datagram, in bytes: what libtirpc reads over
/// UDP, less the reply's header. It also bounds what a forged sender can have sent to somebody.
const UDP_LIST_BYTES_MAX: usize = 8800 - 24;
/// The largest list that is sent over TCP, in bytes.
const TCP_LIST_BYTES_MAX: usize = 1024 * 1024;

/// Finds the handle of a directory that a caller asks to mount, and judges the caller. It may
/// block.
pub type FindRoot = dyn Fn(&[u8], &Call) -> Result<Vec<u8>, MountError> + Send + Sync;

/// MOUNT v3, all six procedures.
pub struct Mountd {
    exports: Arc<ExportTable>,
    disks: Vec<Disk>,
    find_root: Arc<FindRoot>,
    mounts: Arc<Mutex<MountTable>>,
}

impl Mountd {
    /// Serves this table of exports on these disks; `find_root` is asked at every MNT.
    pub fn new(
        exports: Arc<ExportTable>,
        disks: Vec<Disk>,
        find_root: impl Fn(&[u8], &Call) -> Result<Vec<u8>, MountError> + Send + Sync + 'static,
    ) -> Self {
        Self { exports, disks, find_root: Arc::new(find_root), mounts: Arc::default() }
    }

    /// MNT: the handle of the directory at a path.
    fn mnt(&self, call: Call) -> Answer {
        let (find_root, mounts) = (self.find_root.clone(), self.mounts.clone());
        let path = wire::dirpath(&mut call.arguments()).ok();
        let export = path.and_then(|path| self.exports.find(path));
        let disk = export.and_then(|(export, _)| self.disks.get(export)).cloned();
        let work = move || {
            let path = wire::dirpath(&mut call.arguments())?;
            let found = find_root(path, &call);
            let (peer, path_text) = (call.peer, path.escape_ascii());
            match &found {
                Ok(_) => {
                    limited!(info, %peer, path = %path_text, "mounted");
                    lock(&mounts).mounted(peer.ip(), path);
                }
                Err(error) => limited!(info, %peer, path = %path_text, ?error, "mount refused"),
            }
            let mut writer = Writer::new();
            writer.put(&MntResult(found));
            Ok(writer)
        };
        match disk {
            Some(disk) => Answer::later(async move {
                disk.run(Work::Files, work).await.unwrap_or(Err(Fault::SystemError))
            }),
            // What is in no export is on no disk that is served.
            None => Answer::Now(work()),
        }
    }

    fn umnt(&self, call: &Call) -> Reply {
        let path = wire::dirpath(&mut call.arguments())?;
        lock(&self.mounts).unmounted(call.peer.ip(), path);
        Ok(Writer::new())
    }

    fn umnt_all(&self, call: &Call) -> Reply {
        lock(&self.mounts).unmounted_all(call.peer.ip());
        Ok(Writer::new())
    }
}

/// The table is whole between any two of its operations, so a panic elsewhere leaves it usable.
fn lock(mounts: &Mutex<MountTable>) -> MutexGuard<'_, MountTable> {
    mounts.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn list_bytes_max(transport: Transport) -> usize {
    match transport {
        Transport::Tcp => TCP_LIST_BYTES_MAX,
        Transport::Udp => UDP_LIST_BYTES_MAX,
    }
}

impl Program for Mountd {
    fn number(&self) -> u32 {
        wire::PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        wire::VERSION..=wire::VERSION
    }

    fn reply_bytes_max(&self, call: &Call) -> usize {
        match Procedure::from_number(call.header.procedure) {
            Some(Procedure::Dump | Procedure::Export) => list_bytes_max(call.transport),
            _ => SMALL_REPLY_BYTES_MAX,
        }
    }

    fn call(&self, call: Call) -> Answer {
        let bytes_max = list_bytes_max(call.transport);
        Answer::Now(match Procedure::from_number(call.header.procedure) {
            None => Err(Fault::ProcedureUnavailable),
            Some(Procedure::Null) => Ok(Writer::new()),
            Some(Procedure::Mnt) => return self.mnt(call),
            Some(Procedure::Dump) => Ok(wire::dump_result(&lock(&self.mounts), bytes_max)),
            Some(Procedure::Umnt) => self.umnt(&call),
            Some(Procedure::UmntAll) => self.umnt_all(&call),
            Some(Procedure::Export) => Ok(wire::export_result(&self.exports, bytes_max)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc_server::Link;
    use cleat_mount::{ClientRule, Export, Options};
    use cleat_rpc::{CallHeader, Credential, Reader};
    use proptest::prelude::*;

    fn mountd() -> Mountd {
        let rule = ClientRule::any_host(Options::default());
        let export = Export::new(b"/a", vec![rule]).expect("/a");
        let table = Arc::new(ExportTable::new(vec![export]).expect("a table"));
        Mountd::new(table, vec![Disk::new("/a".into())], |path, _| match path {
            b"/a" => Ok(vec![7; 8]),
            b"/a/panic" => panic!("a file system that panics"),
            _ => Err(MountError::Acces),
        })
    }

    fn call(procedure: u32, arguments: &[u8]) -> Call {
        let credential = Credential::None;
        Call {
            header: CallHeader { xid: 1, program: 100_005, version: 3, procedure, credential },
            peer: ([192, 0, 2, 1], 700).into(),
            local: ([192, 0, 2, 2], 2049).into(),
            transport: Transport::Udp,
            link: Link::default(),
            arguments: arguments.to_vec().into(),
        }
    }

    fn path(path: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.opaque(path);
        writer.into_bytes().to_vec()
    }

    async fn answer(mountd: &Mountd, procedure: u32, arguments: &[u8]) -> Result<Vec<u8>, Fault> {
        let reply = match mountd.call(call(procedure, arguments)) {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        reply.map(|writer| writer.into_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_mount_is_listed_until_it_is_unmounted() {
        let (mountd, nobody) = (mountd(), vec![0; 4]);
        let root = answer(&mountd, 1, &path(b"/a")).await.expect("a result");
        let mut reader = Reader::new(&root);
        assert_eq!((reader.u32(), reader.opaque(64)), (Ok(0), Ok(&[7; 8][..])));
        let listed = answer(&mountd, 2, &[]).await.expect("a list");
        let mut reader = Reader::new(&listed);
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.opaque(255), Ok(&b"192.0.2.1"[..]));
        assert_eq!((reader.opaque(1024), reader.bool()), (Ok(&b"/a"[..]), Ok(false)));
        assert_eq!(answer(&mountd, 3, &path(b"/a")).await, Ok(vec![]));
        assert_eq!(answer(&mountd, 2, &[]).await.as_ref(), Ok(&nobody));
        answer(&mountd, 1, &path(b"/a")).await.expect("a result");
        assert_eq!(answer(&mountd, 4, &[]).await, Ok(vec![]));
        assert_eq!(answer(&mountd, 2, &[]).await, Ok(nobody));
    }

    #[tokio::test]
    async fn a_refused_mount_is_not_listed() {
        let mountd = mountd();
        assert_eq!(answer(&mountd, 1, &path(b"/b")).await, Ok(vec![0, 0, 0, 13]));
        assert_eq!(answer(&mountd, 2, &[]).await, Ok(vec![0; 4]));
    }

    #[tokio::test]
    async fn faults_are_answered_as_such() {
        let mountd = mountd();
        assert_eq!(answer(&mountd, 0, &[]).await, Ok(vec![]));
        assert_eq!(answer(&mountd, 6, &[]).await, Err(Fault::ProcedureUnavailable));
        assert_eq!(answer(&mountd, 1, &[0, 0, 4, 1]).await, Err(Fault::GarbageArgs));
        assert_eq!(answer(&mountd, 3, &[]).await, Err(Fault::GarbageArgs));
        assert_eq!(answer(&mountd, 1, &path(b"/a/panic")).await, Err(Fault::SystemError));
    }

    proptest! {
        #[test]
        fn no_arguments_make_a_procedure_panic(procedure in 0u32..8, arguments: Vec<u8>) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("one");
            let _ = runtime.block_on(answer(&mountd(), procedure, &arguments));
        }
    }
}
