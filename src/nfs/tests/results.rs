//! What we write as results another's codec reads, to the last byte, and finds what was meant.

use nfs3_types::nfs3::{self as theirs, Nfs3Option, Nfs3Result, fattr3, nfsstat3, post_op_attr};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack, Void};
use proptest::prelude::*;
use rustix::io::Errno;

use super::super::procedure::{self, *};
use super::hostile::samples;
use super::*;
use crate::vfs::{Attributes, Kind, Timestamp};

fn attributes() -> impl Strategy<Value = Attributes> {
    let kinds = [
        Kind::Regular,
        Kind::Directory,
        Kind::Block,
        Kind::Character,
        Kind::Symlink,
        Kind::Socket,
        Kind::Fifo,
    ];
    let time = || {
        (0..=i64::from(u32::MAX), 0..1_000_000_000u32)
            .prop_map(|(seconds, nanoseconds)| Timestamp { seconds, nanoseconds })
    };
    let numbers = any::<([u32; 6], [u64; 4])>();
    (prop::sample::select(kinds.to_vec()), numbers, [time(), time(), time()]).prop_map(
        |(kind, (small, large), [accessed, modified, changed])| Attributes {
            kind,
            mode: small[0],
            links: small[1],
            uid: small[2],
            gid: small[3],
            size: large[0],
            used: large[1],
            device: (small[4], small[5]),
            fsid: large[2],
            fileid: large[3],
            accessed,
            modified,
            changed,
        },
    )
}

fn assert_same(theirs: &fattr3, ours: &Attributes) {
    let kind = match theirs.type_ {
        theirs::ftype3::NF3REG => Kind::Regular,
        theirs::ftype3::NF3DIR => Kind::Directory,
        theirs::ftype3::NF3BLK => Kind::Block,
        theirs::ftype3::NF3CHR => Kind::Character,
        theirs::ftype3::NF3LNK => Kind::Symlink,
        theirs::ftype3::NF3SOCK => Kind::Socket,
        theirs::ftype3::NF3FIFO => Kind::Fifo,
    };
    let time = |time: theirs::nfstime3| Timestamp {
        seconds: time.seconds.into(),
        nanoseconds: time.nseconds,
    };
    let read = Attributes {
        kind,
        mode: theirs.mode,
        links: theirs.nlink,
        uid: theirs.uid,
        gid: theirs.gid,
        size: theirs.size,
        used: theirs.used,
        device: (theirs.rdev.specdata1, theirs.rdev.specdata2),
        fsid: theirs.fsid,
        fileid: theirs.fileid,
        accessed: time(theirs.atime),
        modified: time(theirs.mtime),
        changed: time(theirs.ctime),
    };
    assert_eq!(read, *ours);
}

fn assert_post(theirs: &post_op_attr, ours: Option<&Attributes>) {
    match (theirs, ours) {
        (Nfs3Option::Some(theirs), Some(ours)) => assert_same(theirs, ours),
        (Nfs3Option::None, None) => {}
        other => panic!("{other:?}"),
    }
}

fn assert_wcc(theirs: &theirs::wcc_data, ours: Option<&Attributes>) {
    assert_post(&theirs.after, ours);
    match (&theirs.before, ours) {
        (Nfs3Option::Some(before), Some(ours)) => {
            assert_eq!(before.size, ours.size);
            let times = [before.mtime, before.ctime].map(|t| (i64::from(t.seconds), t.nseconds));
            let expected = [ours.modified, ours.changed].map(|t| (t.seconds, t.nanoseconds));
            assert_eq!(times, expected);
        }
        (Nfs3Option::None, None) => {}
        other => panic!("{other:?}"),
    }
}

fn fake(attributes: Attributes, known: bool) -> Fake {
    Fake { attributes, known, ..Fake::default() }
}

const FH: &[u8] = b"wfile";

proptest! {
    #[test]
    fn attributes_are_what_the_file_system_said(ours in attributes()) {
        let (nfs, _) = nfs(fake(ours, true));
        let reply: theirs::GETATTR3res = ask(&nfs, procedure::GETATTR, &handle(FH));
        assert_same(&reply.unwrap().obj_attributes, &ours);
    }

    #[test]
    fn what_reads(ours in attributes(), known: bool) {
        let (nfs, _) = nfs(fake(ours, known));
        let after = known.then_some(&ours);
        let found: theirs::LOOKUP3res = ask(&nfs, procedure::LOOKUP, &at(FH, b"name"));
        let found = found.unwrap();
        assert_post(&found.dir_attributes, after);
        assert_post(&found.obj_attributes, Some(&ours));
        assert_eq!(found.object, handle(&[b"w", &[9; 12][..]].concat()));
        let sent = theirs::ACCESS3args { object: handle(FH), access: 0xffff_ffff };
        let access: theirs::ACCESS3res = ask(&nfs, procedure::ACCESS, &sent);
        let access = access.unwrap();
        assert_post(&access.obj_attributes, after);
        assert_eq!(access.access, 0x3f);
        let link: theirs::READLINK3res<'_> = ask(&nfs, procedure::READLINK, &handle(FH));
        let link = link.unwrap();
        assert_post(&link.symlink_attributes, after);
        assert_eq!(link.data.as_ref(), b"hello");
        let sent = theirs::READ3args { file: handle(FH), offset: 1, count: 3 };
        let read: theirs::READ3res<'_> = ask(&nfs, procedure::READ, &sent);
        let read = read.unwrap();
        assert_post(&read.file_attributes, after);
        assert_eq!((read.count, read.eof, &read.data[..]), (3, false, &b"ell"[..]));
    }

    #[test]
    fn what_changes_content(ours in attributes(), known: bool) {
        let (nfs, _) = nfs(fake(ours, known));
        let after = known.then_some(&ours);
        let sent = theirs::WRITE3args {
            file: handle(FH),
            offset: 7,
            count: 3,
            stable: theirs::stable_how::DATA_SYNC,
            data: Opaque::borrowed(b"abc"),
        };
        let written: theirs::WRITE3res = ask(&nfs, procedure::WRITE, &sent);
        let written = written.unwrap();
        assert_wcc(&written.file_wcc, after);
        assert_eq!((written.count, written.committed), (3, theirs::stable_how::DATA_SYNC));
        assert_eq!(written.verf.0, VERIFIER);
        let sent = theirs::COMMIT3args { file: handle(FH), offset: 0, count: 0 };
        let commit: theirs::COMMIT3res = ask(&nfs, procedure::COMMIT, &sent);
        let commit = commit.unwrap();
        assert_wcc(&commit.file_wcc, after);
        assert_eq!(commit.verf.0, VERIFIER);
        let sent = theirs::SETATTR3args {
            object: handle(FH),
            new_attributes: theirs::sattr3::default(),
            guard: Nfs3Option::None,
        };
        let set: theirs::SETATTR3res = ask(&nfs, procedure::SETATTR, &sent);
        assert_wcc(&set.unwrap().obj_wcc, after);
    }

    #[test]
    fn what_changes_names(ours in attributes(), known: bool) {
        let (nfs, _) = nfs(fake(ours, known));
        let after = known.then_some(&ours);
        let removed: theirs::REMOVE3res = ask(&nfs, procedure::REMOVE, &at(FH, b"name"));
        assert_wcc(&removed.unwrap().dir_wcc, after);
        let removed: theirs::RMDIR3res = ask(&nfs, procedure::RMDIR, &at(FH, b"name"));
        assert_wcc(&removed.unwrap().dir_wcc, after);
        let sent = theirs::RENAME3args { from: at(FH, b"old"), to: at(FH, b"new") };
        let renamed: theirs::RENAME3res = ask(&nfs, procedure::RENAME, &sent);
        let renamed = renamed.unwrap();
        assert_wcc(&renamed.fromdir_wcc, after);
        assert_wcc(&renamed.todir_wcc, after);
        let sent = theirs::LINK3args { file: handle(FH), link: at(FH, b"new") };
        let linked: theirs::LINK3res = ask(&nfs, procedure::LINK, &sent);
        let linked = linked.unwrap();
        assert_post(&linked.file_attributes, after);
        assert_wcc(&linked.linkdir_wcc, after);
    }
}

#[test]
fn what_makes_gives_a_handle_and_attributes() {
    let (nfs, fake) = nfs(Fake::default());
    let expected = Nfs3Option::Some(handle(&[b"w", &[9; 12][..]].concat()));
    let check = |obj: Nfs3Option<_>, attributes: &post_op_attr, wcc: &theirs::wcc_data| {
        assert_eq!(obj, expected);
        assert_post(attributes, Some(&fake.attributes));
        assert_wcc(wcc, Some(&fake.attributes));
    };
    let how = theirs::createhow3::EXCLUSIVE(theirs::createverf3([5; 8]));
    let sent = theirs::CREATE3args { where_: at(FH, b"new"), how };
    let made = ask::<theirs::CREATE3res>(&nfs, procedure::CREATE, &sent).unwrap();
    check(made.obj, &made.obj_attributes, &made.dir_wcc);
    let attributes = theirs::sattr3::default();
    let sent = theirs::MKDIR3args { where_: at(FH, b"new"), attributes };
    let made = ask::<theirs::MKDIR3res>(&nfs, procedure::MKDIR, &sent).unwrap();
    check(made.obj, &made.obj_attributes, &made.dir_wcc);
    let symlink = theirs::symlinkdata3 {
        symlink_attributes: theirs::sattr3 { mode: Nfs3Option::Some(0o777), ..Default::default() },
        symlink_data: b"to/there"[..].into(),
    };
    let sent = theirs::SYMLINK3args { where_: at(FH, b"new"), symlink };
    let made = ask::<theirs::SYMLINK3res>(&nfs, procedure::SYMLINK, &sent).unwrap();
    check(made.obj, &made.obj_attributes, &made.dir_wcc);
    let what = theirs::mknoddata3::NF3FIFO(theirs::sattr3::default());
    let sent = theirs::MKNOD3args { where_: at(FH, b"new"), what };
    let made = ask::<theirs::MKNOD3res>(&nfs, procedure::MKNOD, &sent).unwrap();
    check(made.obj, &made.obj_attributes, &made.dir_wcc);
    let asked = fake.asked();
    assert_eq!(asked[0], "create new Exclusive([5, 5, 5, 5, 5, 5, 5, 5])");
    assert_eq!(asked[2..], ["symlink new to/there None", "mknod new Fifo"]);
}

#[test]
fn the_file_system_is_described() {
    let (nfs, fake) = nfs(Fake::default());
    let stat = ask::<theirs::FSSTAT3res>(&nfs, procedure::FSSTAT, &handle(FH)).unwrap();
    assert_post(&stat.obj_attributes, Some(&fake.attributes));
    let bytes = [stat.tbytes, stat.fbytes, stat.abytes];
    assert_eq!((bytes, [stat.tfiles, stat.ffiles, stat.afiles]), ([1, 2, 3], [4, 5, 6]));
    let info = ask::<theirs::FSINFO3res>(&nfs, procedure::FSINFO, &handle(FH)).unwrap();
    assert_post(&info.obj_attributes, Some(&fake.attributes));
    let read = (info.rtmax, info.rtpref, info.rtmult);
    assert_eq!((read, info.dtpref), ((1 << 20, 1 << 20, 4096), 65536));
    assert_eq!((info.wtmax, info.wtpref, info.wtmult), read);
    assert_eq!((info.maxfilesize, info.properties), (1 << 44, 0x1b));
    assert_eq!(info.time_delta, theirs::nfstime3 { seconds: 2, nseconds: 1 });
    let conf = ask::<theirs::PATHCONF3res>(&nfs, procedure::PATHCONF, &handle(FH)).unwrap();
    assert_post(&conf.obj_attributes, Some(&fake.attributes));
    assert_eq!((conf.linkmax, conf.name_max), (65000, 255));
    assert!(conf.no_trunc && conf.chown_restricted && conf.case_preserving);
    assert!(!conf.case_insensitive);
}

fn fails<T: Unpack, E: Unpack>(nfs: &Nfs, procedure: u32, arguments: &impl Pack) -> (nfsstat3, E) {
    match ask::<Nfs3Result<T, E>>(nfs, procedure, arguments) {
        Nfs3Result::Err(failure) => failure,
        Nfs3Result::Ok(_) => panic!("procedure {procedure} did it"),
    }
}

#[test]
fn failures_carry_attributes_too() {
    let ours = Fake::default().attributes;
    let (nfs, _) = nfs(Fake::failing(Errno::DQUOT));
    let after = Some(&ours);
    let place = || at(FH, b"name");
    let dquot = nfsstat3::NFS3ERR_DQUOT;
    let (status, _) = fails::<theirs::GETATTR3resok, Void>(&nfs, procedure::GETATTR, &handle(FH));
    assert_eq!(status, dquot);
    let (status, fail): (_, theirs::LOOKUP3resfail) =
        fails::<theirs::LOOKUP3resok, _>(&nfs, procedure::LOOKUP, &place());
    assert_eq!(status, dquot);
    assert_post(&fail.dir_attributes, after);
    let sent = theirs::WRITE3args {
        file: handle(FH),
        offset: 0,
        count: 1,
        stable: theirs::stable_how::UNSTABLE,
        data: Opaque::borrowed(b"a"),
    };
    let (status, fail): (_, theirs::WRITE3resfail) =
        fails::<theirs::WRITE3resok, _>(&nfs, procedure::WRITE, &sent);
    assert_eq!(status, dquot);
    assert_wcc(&fail.file_wcc, after);
    let sent = theirs::RENAME3args { from: place(), to: place() };
    let (status, fail): (_, theirs::RENAME3resfail) =
        fails::<theirs::RENAME3resok, _>(&nfs, procedure::RENAME, &sent);
    assert_eq!(status, dquot);
    assert_wcc(&fail.fromdir_wcc, after);
    assert_wcc(&fail.todir_wcc, after);
    let sent = theirs::LINK3args { file: handle(FH), link: place() };
    let (status, fail): (_, theirs::LINK3resfail) =
        fails::<theirs::LINK3resok, _>(&nfs, procedure::LINK, &sent);
    assert_eq!(status, dquot);
    assert_post(&fail.file_attributes, after);
    assert_wcc(&fail.linkdir_wcc, after);
}

/// Reads a reply of any procedure with the oracle, to its last byte.
fn status_of(procedure: u32, reply: Reply) -> nfsstat3 {
    fn status<T: Unpack, E: Unpack>(reply: Reply) -> nfsstat3 {
        match unpack::<Nfs3Result<T, E>>(reply) {
            Nfs3Result::Ok(_) => nfsstat3::NFS3_OK,
            Nfs3Result::Err((status, _)) => status,
        }
    }
    match procedure {
        GETATTR => status::<theirs::GETATTR3resok, Void>(reply),
        SETATTR => status::<theirs::SETATTR3resok, theirs::SETATTR3resfail>(reply),
        LOOKUP => status::<theirs::LOOKUP3resok, theirs::LOOKUP3resfail>(reply),
        ACCESS => status::<theirs::ACCESS3resok, theirs::ACCESS3resfail>(reply),
        READLINK => status::<theirs::READLINK3resok<'_>, theirs::READLINK3resfail>(reply),
        READ => status::<theirs::READ3resok<'_>, theirs::READ3resfail>(reply),
        WRITE => status::<theirs::WRITE3resok, theirs::WRITE3resfail>(reply),
        CREATE => status::<theirs::CREATE3resok, theirs::CREATE3resfail>(reply),
        MKDIR => status::<theirs::MKDIR3resok, theirs::MKDIR3resfail>(reply),
        SYMLINK => status::<theirs::SYMLINK3resok, theirs::SYMLINK3resfail>(reply),
        MKNOD => status::<theirs::MKNOD3resok, theirs::MKNOD3resfail>(reply),
        REMOVE => status::<theirs::REMOVE3resok, theirs::REMOVE3resfail>(reply),
        RMDIR => status::<theirs::RMDIR3resok, theirs::RMDIR3resfail>(reply),
        RENAME => status::<theirs::RENAME3resok, theirs::RENAME3resfail>(reply),
        LINK => status::<theirs::LINK3resok, theirs::LINK3resfail>(reply),
        READDIR => status::<theirs::READDIR3resok<'_>, theirs::READDIR3resfail>(reply),
        READDIRPLUS => status::<theirs::READDIRPLUS3resok<'_>, theirs::READDIRPLUS3resfail>(reply),
        FSSTAT => status::<theirs::FSSTAT3resok, theirs::FSSTAT3resfail>(reply),
        FSINFO => status::<theirs::FSINFO3resok, theirs::FSINFO3resfail>(reply),
        PATHCONF => status::<theirs::PATHCONF3resok, theirs::PATHCONF3resfail>(reply),
        COMMIT => status::<theirs::COMMIT3resok, theirs::COMMIT3resfail>(reply),
        other => panic!("procedure {other}"),
    }
}

#[test]
fn every_reply_is_read_to_its_end() {
    for known in [false, true] {
        for error in [None, Some(Errno::IO)] {
            let (nfs, _) = nfs(Fake { known, error: error.map(Into::into), ..Fake::default() });
            let expected = error.map_or(nfsstat3::NFS3_OK, |_| nfsstat3::NFS3ERR_IO);
            for (procedure, arguments) in samples() {
                let reply = nfs.run(&call(procedure, arguments));
                assert_eq!(status_of(procedure, reply), expected, "procedure {procedure}");
            }
        }
    }
}

#[test]
fn every_status_is_one_that_others_know() {
    for error in (1..134).map(Errno::from_raw_os_error) {
        let (nfs, _) = nfs(Fake::failing(error));
        for (procedure, arguments) in samples() {
            let status = status_of(procedure, nfs.run(&call(procedure, arguments)));
            assert_ne!(status, nfsstat3::NFS3_OK, "procedure {procedure}, {error}");
        }
    }
}
