//! NFS calls in the words of another's codec.

use nfs3_types::nfs3::{
    COMMIT3args, COMMIT3res, CREATE3args, CREATE3res, GETATTR3res, Nfs3Option, Nfs3Result,
    READ3args, READ3res, WRITE3args, WRITE3res, createhow3, diropargs3, fattr3, nfs_fh3, nfsstat3,
    sattr3, stable_how,
};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

use super::{Client, NFS};

pub fn handle(bytes: &[u8]) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(bytes.to_vec()) }
}

pub fn at<'a>(dir: &[u8], name: &'a str) -> diropargs3<'a> {
    diropargs3 { dir: handle(dir), name: name.as_bytes().into() }
}

pub fn mode(mode: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(mode), ..sattr3::default() }
}

/// What an optional part of a reply holds.
pub fn there<T: Pack + Unpack>(part: Nfs3Option<T>) -> T {
    match part {
        Nfs3Option::Some(value) => value,
        Nfs3Option::None => panic!("nothing there"),
    }
}

/// A result, or why there is none.
pub fn result<T, E>(result: Nfs3Result<T, E>) -> Result<T, nfsstat3> {
    match result {
        Nfs3Result::Ok(value) => Ok(value),
        Nfs3Result::Err((status, _)) => Err(status),
    }
}

impl Client {
    /// The bytes of a reply.
    pub fn nfs_bytes(&mut self, procedure: u32, arguments: &impl Pack) -> Vec<u8> {
        let mut bytes = Vec::new();
        arguments.pack(&mut bytes).expect("written");
        self.call(NFS, procedure, &|writer| writer.raw(&bytes)).expect("a reply")
    }

    /// Calls a procedure, and reads the whole of its reply.
    pub fn nfs<T: Unpack>(&mut self, procedure: u32, arguments: &impl Pack) -> T {
        let bytes = self.nfs_bytes(procedure, arguments);
        let (reply, read) = T::unpack(&mut &bytes[..]).expect("a reply");
        assert_eq!(read, bytes.len(), "bytes left over");
        reply
    }

    /// The status that a procedure answers with.
    pub fn status(&mut self, procedure: u32, arguments: &impl Pack) -> nfsstat3 {
        let bytes = self.nfs_bytes(procedure, arguments);
        nfsstat3::unpack(&mut &bytes[..]).expect("a status").0
    }

    pub fn getattr(&mut self, file: &[u8]) -> Result<fattr3, nfsstat3> {
        result(self.nfs::<GETATTR3res>(1, &handle(file))).map(|found| found.obj_attributes)
    }

    /// CREATE: the handle of a new file, or of the one that is there.
    pub fn create(&mut self, dir: &[u8], name: &str, how: createhow3) -> Result<Vec<u8>, nfsstat3> {
        let made = self.nfs::<CREATE3res>(8, &CREATE3args { where_: at(dir, name), how });
        result(made).map(|made| there(made.obj).data.to_vec())
    }

    /// READ: the bytes and whether they reach the end.
    pub fn read(&mut self, file: &[u8], offset: u64, count: u32) -> (Vec<u8>, bool) {
        let args = READ3args { file: handle(file), offset, count };
        let read = self.nfs::<READ3res<'static>>(6, &args).unwrap();
        (read.data.to_vec(), read.eof)
    }

    /// An unstable WRITE: the verifier.
    pub fn write(&mut self, file: &[u8], offset: u64, data: &[u8]) -> Result<[u8; 8], nfsstat3> {
        let count = u32::try_from(data.len()).expect("short");
        let data = Opaque::borrowed(data);
        let args =
            WRITE3args { file: handle(file), offset, count, stable: stable_how::UNSTABLE, data };
        result(self.nfs::<WRITE3res>(7, &args)).map(|written| {
            assert_eq!(written.count, count);
            written.verf.0
        })
    }

    /// COMMIT: the verifier.
    pub fn commit(&mut self, file: &[u8]) -> Result<[u8; 8], nfsstat3> {
        let args = COMMIT3args { file: handle(file), offset: 0, count: 0 };
        result(self.nfs::<COMMIT3res>(21, &args)).map(|committed| committed.verf.0)
    }
}
