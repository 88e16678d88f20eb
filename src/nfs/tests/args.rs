//! What another's codec writes as arguments, ours reads, to the last byte.

use cleat_rpc::{Decode, Reader};
use nfs3_types::nfs3::{self as theirs, Nfs3Option, nfstime3, sattr3, set_atime, set_mtime};
use nfs3_types::xdr_codec::Opaque;
use proptest::prelude::*;

use super::super::args;
use super::super::wire::{DirOp, Handle};
use super::{at, handle, pack};
use crate::vfs::{CreateHow, Node, SetAttributes, SetTime, Stability, Timestamp};

fn reads<'a, T: Decode<'a> + PartialEq + std::fmt::Debug>(sent: &'a [u8], ours: T) {
    let mut reader = Reader::new(sent);
    assert_eq!(reader.get(), Ok(ours));
    assert_eq!(reader.finish(), Ok(()));
}

fn option<T>(value: Option<T>) -> Nfs3Option<T>
where
    T: nfs3_types::xdr_codec::Pack + nfs3_types::xdr_codec::Unpack,
{
    value.map_or(Nfs3Option::None, Nfs3Option::Some)
}

/// The same attributes in their words and in ours.
pub fn set_attributes() -> impl Strategy<Value = (sattr3, SetAttributes)> {
    let time = || (0..3, any::<u32>(), 0..1_000_000_000u32);
    (any::<(Option<u32>, Option<u32>, Option<u32>, Option<u64>)>(), time(), time()).prop_map(
        |((mode, uid, gid, size), accessed, modified)| {
            let atime = match accessed {
                (0, ..) => set_atime::DONT_CHANGE,
                (1, ..) => set_atime::SET_TO_SERVER_TIME,
                (_, s, n) => set_atime::SET_TO_CLIENT_TIME(nfstime3 { seconds: s, nseconds: n }),
            };
            let mtime = match modified {
                (0, ..) => set_mtime::DONT_CHANGE,
                (1, ..) => set_mtime::SET_TO_SERVER_TIME,
                (_, s, n) => set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: s, nseconds: n }),
            };
            let ours = |time: (i32, u32, u32)| match time {
                (0, ..) => SetTime::Keep,
                (1, ..) => SetTime::Now,
                (_, s, n) => SetTime::To(Timestamp { seconds: i64::from(s), nanoseconds: n }),
            };
            let theirs = sattr3 {
                mode: option(mode),
                uid: option(uid),
                gid: option(gid),
                size: option(size),
                atime,
                mtime,
            };
            let mode = mode.map(|mode| mode & 0o7777);
            let (accessed, modified) = (ours(accessed), ours(modified));
            (theirs, SetAttributes { mode, uid, gid, size, accessed, modified })
        },
    )
}

fn fh() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=64)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..300)
}

proptest! {
    #[test]
    fn handles_and_names(dir in fh(), name in bytes()) {
        reads(&pack(&handle(&dir)), Handle(&dir));
        let ours = DirOp { dir: Handle(&dir), name: &name };
        reads(&pack(&at(&dir, &name)), ours);
    }

    #[test]
    fn setattr(file in fh(), (new_attributes, set) in set_attributes(), guard: Option<(u32, u32)>) {
        let sent = theirs::SETATTR3args {
            object: handle(&file),
            new_attributes,
            guard: option(guard.map(|(seconds, nseconds)| nfstime3 { seconds, nseconds })),
        };
        let guard = guard.map(|(s, nanoseconds)| Timestamp { seconds: s.into(), nanoseconds });
        let ours = args::SetAttr { file: Handle(&file), set, guard };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn access_read_and_commit(file in fh(), offset: u64, count: u32) {
        let sent = theirs::ACCESS3args { object: handle(&file), access: count };
        let ours = args::Access { file: Handle(&file), wanted: count };
        reads(&pack(&sent), ours);
        let ours = args::Range { file: Handle(&file), offset, count };
        let sent = theirs::READ3args { file: handle(&file), offset, count };
        reads(&pack(&sent), ours);
        let sent = theirs::COMMIT3args { file: handle(&file), offset, count };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn write(file in fh(), offset: u64, count: u32, how in 0..3, data in bytes()) {
        let (stable, stability) = match how {
            0 => (theirs::stable_how::UNSTABLE, Stability::Unstable),
            1 => (theirs::stable_how::DATA_SYNC, Stability::DataSync),
            _ => (theirs::stable_how::FILE_SYNC, Stability::FileSync),
        };
        let payload = Opaque::borrowed(&data);
        let sent = theirs::WRITE3args { file: handle(&file), offset, count, stable, data: payload };
        let range = args::Range { file: Handle(&file), offset, count };
        let ours = args::Write { range, stability, data: &data };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn create(
        dir in fh(), name in bytes(), mode in 0..3, verifier: [u8; 8],
        (theirs, set) in set_attributes(),
    ) {
        let (sent, how) = match mode {
            0 => (theirs::createhow3::UNCHECKED(theirs), CreateHow::Unchecked(set)),
            1 => (theirs::createhow3::GUARDED(theirs), CreateHow::Guarded(set)),
            _ => {
                let sent = theirs::createverf3(verifier);
                (theirs::createhow3::EXCLUSIVE(sent), CreateHow::Exclusive(verifier))
            }
        };
        let sent = theirs::CREATE3args { where_: at(&dir, &name), how: sent };
        let ours = args::Create { at: DirOp { dir: Handle(&dir), name: &name }, how };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn mkdir_and_symlink(
        dir in fh(), name in bytes(), target in bytes(), (theirs, set) in set_attributes(),
    ) {
        let place = DirOp { dir: Handle(&dir), name: &name };
        let sent = theirs::MKDIR3args { where_: at(&dir, &name), attributes: theirs.clone() };
        let ours = args::MakeDir { at: place, set };
        reads(&pack(&sent), ours);
        let symlink = theirs::symlinkdata3 {
            symlink_attributes: theirs,
            symlink_data: target[..].into(),
        };
        let sent = theirs::SYMLINK3args { where_: at(&dir, &name), symlink };
        let ours = args::Symlink { at: place, set, target: &target };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn mknod(
        dir in fh(), name in bytes(), kind in 0..4, major: u32, minor: u32,
        (theirs, set) in set_attributes(),
    ) {
        let spec = theirs::specdata3 { specdata1: major, specdata2: minor };
        let device = |dev_attributes| theirs::devicedata3 { dev_attributes, spec };
        let (what, node) = match kind {
            0 => (theirs::mknoddata3::NF3CHR(device(theirs)), Node::Character(major, minor)),
            1 => (theirs::mknoddata3::NF3BLK(device(theirs)), Node::Block(major, minor)),
            2 => (theirs::mknoddata3::NF3SOCK(theirs), Node::Socket),
            _ => (theirs::mknoddata3::NF3FIFO(theirs), Node::Fifo),
        };
        let sent = theirs::MKNOD3args { where_: at(&dir, &name), what };
        let place = DirOp { dir: Handle(&dir), name: &name };
        let ours = args::MakeNode { at: place, what: Some((node, set)) };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn rename_and_link(dir in fh(), name in bytes(), to_dir in fh(), to_name in bytes()) {
        let (from, to) = (at(&dir, &name), at(&to_dir, &to_name));
        let place = DirOp { dir: Handle(&to_dir), name: &to_name };
        let sent = theirs::RENAME3args { from, to };
        let ours = args::Rename { from: DirOp { dir: Handle(&dir), name: &name }, to: place };
        reads(&pack(&sent), ours);
        let sent = theirs::LINK3args { file: handle(&dir), link: at(&to_dir, &to_name) };
        let ours = args::Link { file: Handle(&dir), to: place };
        reads(&pack(&sent), ours);
    }

    #[test]
    fn readdir_and_readdirplus(
        dir in fh(), cookie: u64, verifier: [u8; 8], count: u32, maxcount: u32,
    ) {
        let from = args::Position { dir: Handle(&dir), cookie, verifier };
        let cookieverf = theirs::cookieverf3(verifier);
        let sent = theirs::READDIR3args { dir: handle(&dir), cookie, cookieverf, count };
        let ours = args::ReadDir { from, bytes_max: count };
        reads(&pack(&sent), ours);
        let (dir, dircount) = (handle(&dir), count);
        let sent = theirs::READDIRPLUS3args { dir, cookie, cookieverf, dircount, maxcount };
        let ours = args::ReadDirPlus { from, names_bytes_max: count, bytes_max: maxcount };
        reads(&pack(&sent), ours);
    }
}
