//! Locks while the disk behind their export does not answer.

mod harness;

use std::collections::HashSet;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cleat::disk::EXPORT_LOCK_CALLS_MAX;
use cleat::exports::Exports;
use cleat::lockd::{Lockd, Nlm, Results, Settings};
use cleat::rpc_server::{Answer, Call, Link, Program, Sockets, Transport, Work};
use cleat::store::Store;
use cleat::vfs::local::{LocalFs, LocalOptions, MemoryHandleTable};
use cleat_lock::Config;
use cleat_mount::{ClientRule, Export, ExportTable, Identity, Options};
use cleat_nlm::wire::{Lock, LockArgs, PROGRAM, Res, Stat, UnlockArgs};
use cleat_nlm::{Message, Operation, Procedure, Version};
use cleat_rpc::{CallHeader, Credential, Reader, Writer};
use harness::is_root;
use tokio::sync::mpsc::{channel as tokio_channel, unbounded_channel};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A call that locks or unlocks the whole file.
fn call(xid: u32, operation: Operation, fh: &[u8]) -> Call {
    let lock = Lock { caller_name: b"a", fh, oh: b"owner", svid: 1, offset: 0, length: 0 };
    let mut arguments = Writer::new();
    if operation == Operation::Lock {
        let (block, exclusive, reclaim, state) = (false, false, false, 1);
        let args = LockArgs { cookie: b"", block, exclusive, lock, reclaim, state };
        args.write(&mut arguments, Version::V4);
    } else {
        UnlockArgs { cookie: b"", lock }.write(&mut arguments, Version::V4);
    }
    let procedure = Procedure::Call(operation).number();
    let credential = Credential::None;
    Call {
        header: CallHeader { xid, program: PROGRAM, version: 4, procedure, credential },
        peer: ([127, 0, 0, 2], 700).into(),
        local: ([127, 0, 0, 1], 2049).into(),
        transport: Transport::Tcp,
        link: Link::default(),
        arguments: arguments.into_bytes(),
    }
}

async fn stat(answer: Answer) -> Option<Stat> {
    let reply = match answer {
        Answer::Now(reply) => reply,
        Answer::Later(reply) => tokio::time::timeout(PATIENCE, reply).await.ok()?,
    };
    let results = reply.expect("results").into_bytes();
    Some(Res::read(&mut Reader::new(&results), Version::V4).expect("a result").stat)
}

/// Has the disk behind a handle's export hang as far as lock requests can notice, until the
/// returned is dropped.
async fn hang(exports: &Exports, fh: &[u8]) -> Sender<()> {
    let disk = exports.disk(fh).expect("a disk");
    let (wake, hangs) = channel::<()>();
    let hangs = Arc::new(Mutex::new(hangs));
    for _ in 0..EXPORT_LOCK_CALLS_MAX {
        let (disk, hangs) = (disk.clone(), Arc::clone(&hangs));
        let hang = move || drop(hangs.lock().map(|hangs| hangs.recv()));
        tokio::spawn(async move { disk.run(Work::Locks, hang).await });
        tokio::task::yield_now().await;
    }
    wake
}

#[tokio::test]
async fn a_lock_is_given_up_and_those_of_other_exports_are_granted() {
    if !is_root("handles that the kernel makes") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (store, records) = Store::open(&directory.path().join("state")).expect("a store");
    let paths = ["one", "two"].map(|name| directory.path().join(name));
    let export = |path: &std::path::Path| {
        std::fs::create_dir(path).expect("an export");
        std::fs::write(path.join("file"), "content").expect("a file");
        std::fs::set_permissions(
            path.join("file"),
            std::os::unix::fs::PermissionsExt::from_mode(0o666),
        )
        .expect("set");
        let rule = ClientRule::any_host(Options::default());
        Export::new(path.to_str().expect("text").as_bytes(), vec![rule]).expect("an export")
    };
    let table = paths.iter().map(|path| export(path)).collect();
    let table = Arc::new(ExportTable::new(table).expect("a table"));
    let options = LocalOptions::default();
    let probe = LocalFs::open(&paths[0], Arc::new(MemoryHandleTable::default()), options);
    assert!(!probe.expect("it opens").uses_handle_table(), "root opens what the kernel names");
    let handles = Arc::new(MemoryHandleTable::default());
    let exports = Exports::open(table, [7; 16], handles, HashSet::new(), options).expect("exports");
    let exports = Arc::new(exports);
    let settings = Settings { power: false, grace_ms: 0, exact: true, core: Config::default() };
    let (events, _events) = unbounded_channel();
    let failed = CancellationToken::new();
    let (lockd, thread) =
        Lockd::start(Arc::new(store), records, settings, events, failed).expect("a thread");
    let sockets = Sockets::bind(&["127.0.0.1:0".parse().expect("an address")]).expect("bound");
    let results = Results::new(sockets.outbox());
    let nlm = Nlm::new(Arc::clone(&exports), lockd.clone(), results, tokio_channel(1).0);
    let file = |export: usize| {
        let any = call(0, Operation::Lock, b"");
        let path = paths[export].to_str().expect("text").as_bytes();
        let root = exports.mount_root(path, &any).expect("a handle");
        let Ok(root) = exports.resolve(&root, &any) else { panic!("a handle of ours") };
        let found = root.fs.lookup(&Identity::ROOT, &root.file, b"file", &mut None);
        exports.wire_handle(&root, &found.expect("found").0)
    };
    let [hung, well] = [0, 1].map(file);

    assert_eq!(stat(nlm.call(call(1, Operation::Lock, &hung))).await, Some(Stat::Granted));
    let wake = hang(&exports, &hung).await;
    assert_eq!(stat(nlm.call(call(2, Operation::Unlock, &hung))).await, Some(Stat::Granted));
    let waits = tokio::spawn(stat(nlm.call(call(3, Operation::Lock, &hung))));
    assert_eq!(stat(nlm.call(call(4, Operation::Lock, &well))).await, Some(Stat::Granted));
    assert!(!waits.is_finished());
    drop(wake);
    assert_eq!(waits.await.expect("no panic"), Some(Stat::Granted));
    lockd.stop();
    thread.join().expect("no panic");
}
