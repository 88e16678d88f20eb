//! What is refused before a file system is asked, what is cut to size, and how a call is run.

use cleat_rpc::Fault;
use nfs3_types::nfs3::{self as theirs, Nfs3Option, Nfs3Result};
use nfs3_types::xdr_codec::{Opaque, Pack};
use rustix::io::Errno;

use super::super::procedure::*;
use super::hostile::samples;
use super::*;
use crate::vfs::FsError;

fn status(nfs: &Nfs, procedure: u32, arguments: &impl Pack) -> u32 {
    let reply = nfs.run(&call(procedure, pack(arguments))).expect("a result").into_bytes();
    u32::from_be_bytes(*reply.first_chunk().expect("a status"))
}

/// What a procedure that takes a directory and a name is sent.
fn with_name(procedure: u32, dir: &[u8], name: &[u8]) -> Vec<u8> {
    let place = || at(dir, name);
    let attributes = theirs::sattr3::default;
    match procedure {
        CREATE => {
            let how = theirs::createhow3::GUARDED(attributes());
            pack(&theirs::CREATE3args { where_: place(), how })
        }
        MKDIR => pack(&theirs::MKDIR3args { where_: place(), attributes: attributes() }),
        SYMLINK => {
            let symlink_data = b"to"[..].into();
            let symlink = theirs::symlinkdata3 { symlink_attributes: attributes(), symlink_data };
            pack(&theirs::SYMLINK3args { where_: place(), symlink })
        }
        MKNOD => {
            let what = theirs::mknoddata3::NF3FIFO(attributes());
            pack(&theirs::MKNOD3args { where_: place(), what })
        }
        RENAME => pack(&theirs::RENAME3args { from: at(dir, b"old"), to: place() }),
        LINK => pack(&theirs::LINK3args { file: handle(b"wfile"), link: place() }),
        _ => pack(&place()),
    }
}

const NAMING: [u32; 9] = [LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK];

fn status_of_name(procedure: u32, name: &[u8]) -> (u32, Vec<String>) {
    let (nfs, fake) = nfs(Fake::default());
    let reply = nfs.run(&call(procedure, with_name(procedure, b"wdir", name)));
    let reply = reply.expect("a result").into_bytes();
    (u32::from_be_bytes(*reply.first_chunk().expect("a status")), fake.asked())
}

#[test]
fn names_that_are_none_never_reach_the_file_system() {
    for procedure in NAMING {
        for (name, expected) in [
            (&b""[..], Status::Acces),
            (b"a/b", Status::Acces),
            (b"/", Status::Acces),
            (b"a\0b", Status::Acces),
            (&[b'a'; 256], Status::NameTooLong),
            (&[b'a'; 4096], Status::NameTooLong),
        ] {
            let (status, asked) = status_of_name(procedure, name);
            assert_eq!(status, expected as u32, "procedure {procedure}, name {name:?}");
            assert!(asked.is_empty(), "procedure {procedure}: {asked:?}");
        }
        for name in [&[b'a'; 255][..], b"...", b" ", b"\xff\xfe", b"\n", b"\\"] {
            let (status, asked) = status_of_name(procedure, name);
            assert_eq!((status, asked.len()), (0, 1), "procedure {procedure}, name {name:?}");
        }
    }
}

#[test]
fn dots_are_looked_up_and_nothing_else() {
    for name in [&b"."[..], b".."] {
        assert_eq!(status_of_name(LOOKUP, name).0, 0);
        for procedure in [CREATE, MKDIR, SYMLINK, MKNOD, LINK] {
            assert_eq!(status_of_name(procedure, name), (Status::Exist as u32, vec![]));
        }
        assert_eq!(status_of_name(REMOVE, name), (Status::Acces as u32, vec![]));
        assert_eq!(status_of_name(RENAME, name), (Status::Inval as u32, vec![]));
    }
    assert_eq!(status_of_name(RMDIR, b"."), (Status::Inval as u32, vec![]));
    assert_eq!(status_of_name(RMDIR, b".."), (Status::Exist as u32, vec![]));
}

/// Puts other first bytes into the handles of the sample arguments.
fn with_handles(kind: u8) -> Vec<(u32, Vec<u8>)> {
    let mut samples = samples();
    for (_, arguments) in &mut samples {
        for place in 4..arguments.len() {
            if [&b"wfile"[..], b"wdir"].iter().any(|name| arguments[place..].starts_with(name)) {
                arguments[place] = kind;
            }
        }
    }
    samples
}

#[test]
fn a_read_only_export_is_not_changed() {
    let changing = [SETATTR, WRITE, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK];
    let (nfs, fake) = nfs(Fake::default());
    for (procedure, arguments) in with_handles(b'r') {
        let reply = nfs.run(&call(procedure, arguments)).expect("a result").into_bytes();
        let status = u32::from_be_bytes(*reply.first_chunk().expect("a status"));
        let expected = if changing.contains(&procedure) { Status::Rofs as u32 } else { 0 };
        assert_eq!(status, expected, "procedure {procedure}");
        let asked = fake.asked();
        assert_eq!(asked.is_empty() && procedure != GETATTR, expected != 0, "{asked:?}");
    }
}

#[test]
fn a_read_only_export_grants_no_right_to_change() {
    let (nfs, _) = nfs(Fake::default());
    for (object, expected) in [(b"wfile", 0x3f), (b"rfile", 0x23)] {
        let sent = theirs::ACCESS3args { object: handle(object), access: 0x3f };
        assert_eq!(ask::<theirs::ACCESS3res>(&nfs, ACCESS, &sent).unwrap().access, expected);
    }
}

#[test]
fn a_handle_that_is_refused_is_refused_everywhere() {
    let (nfs, fake) = nfs(Fake::default());
    let kinds = [(b's', Status::Stale), (b'd', Status::Acces), (b'?', Status::BadHandle)];
    for (kind, expected) in kinds {
        for (procedure, arguments) in with_handles(kind) {
            let reply = nfs.run(&call(procedure, arguments)).expect("a result").into_bytes();
            assert_eq!(reply[..4], (expected as u32).to_be_bytes(), "procedure {procedure}");
        }
    }
    assert_eq!(fake.asked(), Vec::<String>::new());
}

#[test]
fn exports_are_different_file_systems() {
    let (nfs, fake) = nfs(Fake::default());
    let sent = theirs::RENAME3args { from: at(b"wdir", b"a"), to: at(b"xdir", b"b") };
    assert_eq!(status(&nfs, RENAME, &sent), Status::XDev as u32);
    let sent = theirs::LINK3args { file: handle(b"wfile"), link: at(b"xdir", b"b") };
    assert_eq!(status(&nfs, LINK, &sent), Status::XDev as u32);
    assert_eq!(fake.asked(), Vec::<String>::new());
}

#[test]
fn reads_are_cut_to_what_there_can_be() {
    let (nfs, fake) = nfs(Fake::default());
    for (offset, count, expected, data) in [
        (0, 5, "read 0 5", (&b"hello"[..], true)),
        (3, u32::MAX, "read 3 1048576", (b"lo", true)),
        (0, 0, "read 0 0", (b"", false)),
        (i64::MAX as u64 - 1, 9, "read 9223372036854775806 1", (b"", true)),
        (1 << 63, 9, "read 9223372036854775807 0", (b"", true)),
        (u64::MAX, u32::MAX, "read 9223372036854775807 0", (b"", true)),
    ] {
        let sent = theirs::READ3args { file: handle(b"wfile"), offset, count };
        let read = ask::<theirs::READ3res<'_>>(&nfs, READ, &sent).unwrap();
        assert_eq!((&read.data[..], read.eof), data, "{count} at {offset}");
        assert_eq!(fake.asked(), [expected]);
    }
}

#[test]
fn data_that_is_read_is_not_copied() {
    let fake = Fake::default();
    let content = fake.content.clone();
    let (nfs, _) = nfs(fake);
    let sent = theirs::READ3args { file: handle(b"wfile"), offset: 0, count: 5 };
    let (_, payload, _) = nfs.run(&call(READ, pack(&sent))).expect("a result").into_parts();
    assert_eq!(payload.as_ptr(), content.as_ptr());
}

fn write(offset: u64, count: u32, data: &[u8]) -> theirs::WRITE3args<'_> {
    let stable = theirs::stable_how::UNSTABLE;
    let data = Opaque::borrowed(data);
    theirs::WRITE3args { file: handle(b"wfile"), offset, count, stable, data }
}

#[test]
fn writes_end_where_files_end() {
    let (nfs, fake) = nfs(Fake::default());
    let last = i64::MAX as u64;
    for (sent, expected) in [
        (write(last, 1, b"a"), Status::FBig),
        (write(last - 1, 2, b"ab"), Status::FBig),
        (write(u64::MAX, 1, b"a"), Status::FBig),
        (write(1 << 63, 0, b""), Status::FBig),
        (write(0, 2, b"a"), Status::Inval),
        (write(0, u32::MAX, b"a"), Status::Inval),
    ] {
        assert_eq!(status(&nfs, WRITE, &sent), expected as u32);
    }
    assert_eq!(fake.asked(), Vec::<String>::new());
    let large = vec![1; (1 << 20) + 5];
    for (sent, expected) in [
        (write(last - 1, 1, b"a"), "write 9223372036854775806 1 Unstable"),
        (write(0, 0, b""), "write 0 0 Unstable"),
        (write(4, 2, b"abcd"), "write 4 2 Unstable"),
        (write(0, (1 << 20) + 5, &large), "write 0 1048576 Unstable"),
    ] {
        assert_eq!(status(&nfs, WRITE, &sent), 0);
        assert_eq!(fake.asked(), [expected]);
    }
}

#[test]
fn a_commit_past_the_last_offset_is_one_to_the_end() {
    let (nfs, fake) = nfs(Fake::default());
    for (offset, count, expected) in [
        (0, 0, "commit 0 0"),
        (5, 7, "commit 5 7"),
        (i64::MAX as u64, 1, "commit 9223372036854775807 0"),
        (u64::MAX, u32::MAX, "commit 9223372036854775807 0"),
    ] {
        let sent = theirs::COMMIT3args { file: handle(b"wfile"), offset, count };
        assert_eq!(status(&nfs, COMMIT, &sent), 0);
        assert_eq!(fake.asked(), [expected]);
    }
}

fn setattr(new_attributes: theirs::sattr3) -> theirs::SETATTR3args {
    theirs::SETATTR3args { object: handle(b"wfile"), new_attributes, guard: Nfs3Option::None }
}

#[test]
fn attributes_that_the_system_would_misread_are_refused() {
    use theirs::{nfstime3, sattr3, set_atime, set_mtime};
    let (nfs, fake) = nfs(Fake::default());
    let none = || sattr3::default();
    let time = |nseconds| nfstime3 { seconds: 1, nseconds };
    let (utime_now, utime_omit) = (0x3fff_ffff, 0x3fff_fffe);
    for (set, expected) in [
        (sattr3 { size: Nfs3Option::Some(1 << 63), ..none() }, Status::FBig),
        (sattr3 { uid: Nfs3Option::Some(u32::MAX), ..none() }, Status::Inval),
        (sattr3 { gid: Nfs3Option::Some(u32::MAX), ..none() }, Status::Inval),
        (sattr3 { atime: set_atime::SET_TO_CLIENT_TIME(time(utime_now)), ..none() }, Status::Inval),
        (
            sattr3 { mtime: set_mtime::SET_TO_CLIENT_TIME(time(utime_omit)), ..none() },
            Status::Inval,
        ),
    ] {
        assert_eq!(status(&nfs, SETATTR, &setattr(set.clone())), expected as u32);
        let how = theirs::createhow3::UNCHECKED(set);
        let sent = theirs::CREATE3args { where_: at(b"wdir", b"new"), how };
        assert_eq!(status(&nfs, CREATE, &sent), expected as u32);
    }
    assert_eq!(fake.asked(), Vec::<String>::new());
    let fits = sattr3 { size: Nfs3Option::Some(i64::MAX as u64), ..none() };
    assert_eq!(status(&nfs, SETATTR, &setattr(fits)), 0);
}

#[test]
fn mknod_makes_no_file_directory_or_link() {
    let (nfs, fake) = nfs(Fake::default());
    for kind in [1u32, 2, 5] {
        let arguments = [pack(&at(b"wdir", b"new")), kind.to_be_bytes().to_vec()].concat();
        let reply: theirs::MKNOD3res = unpack(nfs.run(&call(MKNOD, arguments)));
        assert!(matches!(reply, Nfs3Result::Err((theirs::nfsstat3::NFS3ERR_BADTYPE, _))));
    }
    assert_eq!(fake.asked(), Vec::<String>::new());
}

#[test]
fn a_link_says_something() {
    let (nfs, _) = nfs(Fake::default());
    let symlink = |content: &[u8]| {
        let symlink = theirs::symlinkdata3 {
            symlink_attributes: theirs::sattr3::default(),
            symlink_data: content.into(),
        };
        status(&nfs, SYMLINK, &theirs::SYMLINK3args { where_: at(b"wdir", b"new"), symlink })
    };
    assert_eq!(symlink(b""), Status::NoEnt as u32);
    assert_eq!(symlink(b"a\0b"), Status::Inval as u32);
    assert_eq!(symlink(&[b'a'; 4097]), Status::NameTooLong as u32);
    assert_eq!(symlink(&[b'a'; 4096]), 0);
}

#[test]
fn refusals_of_the_file_system_are_said_as_they_are() {
    for (error, procedure, expected) in [
        (FsError::Stale, GETATTR, Status::Stale),
        (FsError::BadHandle, GETATTR, Status::BadHandle),
        (FsError::NotSync, SETATTR, Status::NotSync),
        (FsError::BadCookie, READDIR, Status::BadCookie),
        (FsError::BadCookie, READDIRPLUS, Status::BadCookie),
        (FsError::BadType, MKNOD, Status::BadType),
        (Errno::NOTEMPTY.into(), RMDIR, Status::NotEmpty),
        (Errno::MLINK.into(), LINK, Status::MLink),
        (Errno::ISDIR.into(), READ, Status::Inval),
        (Errno::ISDIR.into(), REMOVE, Status::IsDir),
    ] {
        let (nfs, _) = nfs(Fake::failing(error));
        let arguments = samples().into_iter().find(|sample| sample.0 == procedure);
        let reply = nfs.run(&call(procedure, arguments.expect("a sample").1));
        let reply = reply.expect("a result").into_bytes();
        assert_eq!(reply[..4], (expected as u32).to_be_bytes(), "{error:?}");
    }
}

async fn answered(nfs: &Nfs, procedure: u32) -> (bool, Reply) {
    let arguments = samples().into_iter().find(|sample| sample.0 == procedure);
    match nfs.call(call(procedure, arguments.unwrap_or_default().1)) {
        Answer::Now(reply) => (true, reply),
        Answer::Later(reply) => (false, reply.await),
    }
}

#[tokio::test]
async fn only_what_blocks_is_answered_later() {
    let (nfs, _) = nfs(Fake::default());
    let (at_once, reply) = answered(&nfs, NULL).await;
    assert!(at_once && reply.is_ok_and(|reply| reply.is_empty()));
    let (at_once, reply) = answered(&nfs, 22).await;
    assert!(at_once);
    assert_eq!(reply.err(), Some(Fault::ProcedureUnavailable));
    let (at_once, reply) = answered(&nfs, LOOKUP).await;
    assert!(!at_once && reply.is_ok());
    assert_eq!((nfs.number(), nfs.versions()), (100_003, 3..=3));
}

#[tokio::test]
async fn a_procedure_that_panics_is_a_system_error() {
    let (nfs, _) = nfs(Fake { panics: true, ..Fake::default() });
    let (_, reply) = answered(&nfs, READ).await;
    assert_eq!(reply.err(), Some(Fault::SystemError));
}

#[tokio::test]
async fn while_its_disk_hangs_a_client_is_to_ask_every_procedure_again() {
    let (_, fake) = nfs(Fake::default());
    let disk = Disk::with_patience(std::time::Duration::from_millis(5));
    let handles = FakeHandles { fs: Arc::clone(&fake), disk: disk.clone() };
    let nfs = Nfs { handles: Arc::new(handles) };
    let wake = disk.hang(Work::Files).await;
    for procedure in GETATTR..=COMMIT {
        let (_, reply) = answered(&nfs, procedure).await;
        let reply = reply.expect("a reply").into_bytes();
        let status = Status::Jukebox as u32;
        assert_eq!(reply[..4], status.to_be_bytes(), "procedure {procedure}");
    }
    assert!(fake.asked().is_empty());
    drop(wake);
    let asks_again = async {
        while fake.asked().is_empty() {
            let (_, reply) = answered(&nfs, LOOKUP).await;
            assert!(reply.is_ok());
        }
    };
    let patience = std::time::Duration::from_secs(20);
    assert!(tokio::time::timeout(patience, asks_again).await.is_ok());
}
