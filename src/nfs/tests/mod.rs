//! The procedures against a file system with canned answers, and against another's codec.

mod args;
mod behaviour;
mod fake;
mod hostile;
mod listing;
mod results;

use std::sync::Arc;

use cleat_rpc::{CallHeader, Credential, Reply};
use nfs3_types::nfs3::{diropargs3, nfs_fh3};
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

use self::fake::{Fake, FakeHandles};
use super::*;
use crate::rpc_server::{Link, Transport};

const VERIFIER: [u8; 8] = *b"instance";

fn nfs(fake: Fake) -> (Nfs, Arc<Fake>) {
    let fake = Arc::new(fake);
    let handles = FakeHandles { fs: Arc::clone(&fake), disk: Disk::new("/a".into()) };
    (Nfs { handles: Arc::new(handles) }, fake)
}

fn call(procedure: u32, arguments: impl Into<Bytes>) -> Call {
    let header = CallHeader {
        xid: 1,
        program: PROGRAM,
        version: VERSION,
        procedure,
        credential: Credential::None,
    };
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 2049));
    Call {
        header,
        peer: address,
        local: address,
        transport: Transport::Tcp,
        link: Link::default(),
        arguments: arguments.into(),
    }
}

fn pack(value: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = value.pack(&mut bytes).expect("the oracle writes");
    assert_eq!((written, value.packed_size()), (bytes.len(), bytes.len()));
    bytes
}

/// What the oracle reads in a reply, to its last byte.
fn unpack<T: Unpack>(reply: Reply) -> T {
    let bytes = reply.expect("a result").into_bytes();
    let (value, read) = T::unpack(&mut &bytes[..]).expect("the oracle reads");
    assert_eq!(read, bytes.len(), "bytes left over");
    value
}

/// Calls with the oracle's arguments and reads the reply with the oracle.
fn ask<T: Unpack>(nfs: &Nfs, procedure: u32, arguments: &impl Pack) -> T {
    unpack(nfs.run(&call(procedure, pack(arguments))))
}

fn handle(bytes: &[u8]) -> nfs_fh3 {
    nfs_fh3 { data: Opaque::owned(bytes.to_vec()) }
}

fn at<'a>(dir: &[u8], name: &'a [u8]) -> diropargs3<'a> {
    diropargs3 { dir: handle(dir), name: name.into() }
}
