//! Arguments that are none: GARBAGE_ARGS, and never a panic.

use cleat_rpc::Fault;
use nfs3_types::nfs3::{self as theirs, Nfs3Option, nfstime3, sattr3, set_atime, set_mtime};
use nfs3_types::xdr_codec::Opaque;
use proptest::prelude::*;

use super::super::procedure::*;
use super::*;

/// Arguments of every procedure, with all that is optional in them.
pub fn samples() -> Vec<(u32, Vec<u8>)> {
    let time = nfstime3 { seconds: 1, nseconds: 2 };
    let set = || sattr3 {
        mode: Nfs3Option::Some(0o644),
        uid: Nfs3Option::Some(1),
        gid: Nfs3Option::Some(2),
        size: Nfs3Option::Some(3),
        atime: set_atime::SET_TO_CLIENT_TIME(time),
        mtime: set_mtime::SET_TO_CLIENT_TIME(time),
    };
    let (file, place) = (|| handle(b"wfile"), || at(b"wdir", b"name"));
    let create = |how| pack(&theirs::CREATE3args { where_: place(), how });
    let mknod = |what| pack(&theirs::MKNOD3args { where_: place(), what });
    let device = || theirs::devicedata3 {
        dev_attributes: set(),
        spec: theirs::specdata3 { specdata1: 8, specdata2: 1 },
    };
    let setattr = theirs::SETATTR3args {
        object: file(),
        new_attributes: set(),
        guard: Nfs3Option::Some(time),
    };
    let write = theirs::WRITE3args {
        file: file(),
        offset: 0,
        count: 5,
        stable: theirs::stable_how::FILE_SYNC,
        data: Opaque::borrowed(b"hello"),
    };
    let symlink_data = b"to/there"[..].into();
    let symlink = theirs::symlinkdata3 { symlink_attributes: set(), symlink_data };
    let (cookie, cookieverf) = (0, theirs::cookieverf3::default());
    let (dircount, maxcount) = (1000, 4096);
    let readdir = theirs::READDIR3args { dir: file(), cookie, cookieverf, count: 4096 };
    let plus = theirs::READDIRPLUS3args { dir: file(), cookie, cookieverf, dircount, maxcount };
    let range = theirs::READ3args { file: file(), offset: 0, count: 5 };
    vec![
        (GETATTR, pack(&file())),
        (SETATTR, pack(&setattr)),
        (LOOKUP, pack(&place())),
        (ACCESS, pack(&theirs::ACCESS3args { object: file(), access: 0x3f })),
        (READLINK, pack(&file())),
        (READ, pack(&range)),
        (WRITE, pack(&write)),
        (CREATE, create(theirs::createhow3::UNCHECKED(set()))),
        (CREATE, create(theirs::createhow3::GUARDED(set()))),
        (CREATE, create(theirs::createhow3::EXCLUSIVE(theirs::createverf3([1; 8])))),
        (MKDIR, pack(&theirs::MKDIR3args { where_: place(), attributes: set() })),
        (SYMLINK, pack(&theirs::SYMLINK3args { where_: place(), symlink })),
        (MKNOD, mknod(theirs::mknoddata3::NF3CHR(device()))),
        (MKNOD, mknod(theirs::mknoddata3::NF3BLK(device()))),
        (MKNOD, mknod(theirs::mknoddata3::NF3SOCK(set()))),
        (MKNOD, mknod(theirs::mknoddata3::NF3FIFO(set()))),
        (REMOVE, pack(&place())),
        (RMDIR, pack(&place())),
        (RENAME, pack(&theirs::RENAME3args { from: place(), to: place() })),
        (LINK, pack(&theirs::LINK3args { file: file(), link: place() })),
        (READDIR, pack(&readdir)),
        (READDIRPLUS, pack(&plus)),
        (FSSTAT, pack(&file())),
        (FSINFO, pack(&file())),
        (PATHCONF, pack(&file())),
        (COMMIT, pack(&range)),
    ]
}

#[test]
fn no_prefix_of_arguments_is_taken_for_arguments() {
    let (nfs, fake) = nfs(Fake::default());
    for (procedure, arguments) in samples() {
        for end in 0..arguments.len() {
            let reply = nfs.run(&call(procedure, arguments[..end].to_vec()));
            assert_eq!(reply.err(), Some(Fault::GarbageArgs), "procedure {procedure}, {end} bytes");
        }
        assert_eq!(fake.asked(), Vec::<String>::new(), "procedure {procedure} did something");
        let reply = nfs.run(&call(procedure, arguments)).expect("a result").into_bytes();
        assert_eq!(reply[..4], [0; 4], "procedure {procedure}");
        fake.asked();
    }
}

#[test]
fn lengths_and_discriminants_out_of_range_are_garbage() {
    let (nfs, _) = nfs(Fake::default());
    let garbage = |procedure, words: &[u32]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(nfs.run(&call(procedure, bytes)).err(), Some(Fault::GarbageArgs));
    };
    garbage(GETATTR, &[u32::MAX, 0, 0]);
    garbage(LOOKUP, &[0, 4097]);
    garbage(LOOKUP, &[0, u32::MAX]);
    garbage(WRITE, &[0, 0, 0, 1, 3, 0]);
    garbage(CREATE, &[0, 0, 3, 0, 0, 0, 0, 0, 0]);
    garbage(MKDIR, &[0, 0, 2, 0, 0, 0, 0, 0, 0]);
    garbage(MKDIR, &[0, 0, 0, 0, 0, 0, 3, 0]);
    garbage(MKNOD, &[0, 0, 0]);
    garbage(MKNOD, &[0, 0, 8]);
}

#[test]
fn what_no_procedure_is_has_no_number() {
    let (nfs, _) = nfs(Fake::default());
    for procedure in [22, u32::MAX] {
        assert_eq!(nfs.run(&call(procedure, vec![])).err(), Some(Fault::ProcedureUnavailable));
    }
}

proptest! {
    #[test]
    fn bytes_of_any_kind_are_answered(
        procedure in 0u32..22, bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (nfs, _) = nfs(Fake::default());
        let _ = nfs.run(&call(procedure, bytes));
    }

    #[test]
    fn arguments_with_a_few_bytes_changed_are_answered(
        sample in prop::sample::select(samples()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (procedure, mut arguments) = sample;
        for (place, value) in changes {
            let place = place.index(arguments.len());
            arguments[place] = value;
        }
        let (nfs, _) = nfs(Fake::default());
        let _ = nfs.run(&call(procedure, arguments));
    }
}
