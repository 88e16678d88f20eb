//! Calls that a client sends one right after the other, without waiting for answers: Linux does so
//! where the process that asks is killed, and takes back at once what it may have got.

mod harness;

use std::io::{Read, Write};
use std::net::TcpStream;

use cleat_nlm::wire::{Lock, PROGRAM, Stat, UnlockArgs};
use cleat_nlm::{Message, Operation, Procedure, Version};
use cleat_rpc::record::mark;
use cleat_rpc::{AuthSys, CallHeader, Credential, Writer};
use harness::{Client, EXCLUSIVE, Site, alock};

fn record<'a>(xid: u32, operation: Operation, arguments: &impl Message<'a>) -> Vec<u8> {
    let (program, version) = (PROGRAM, Version::V4);
    let (procedure, credential) =
        (Procedure::Call(operation).number(), Credential::Sys(AuthSys::default()));
    let mut message = Writer::new();
    CallHeader { xid, program, version: version.number(), procedure, credential }
        .encode(&mut message);
    arguments.write(&mut message, version);
    let message = message.into_bytes();
    [&mark(message.len())[..], &message].concat()
}

fn skip_reply(stream: &mut TcpStream) {
    let mut header = [0; 4];
    stream.read_exact(&mut header).expect("a reply");
    let mut reply = vec![0; (u32::from_be_bytes(header) & 0x7fff_ffff) as usize];
    stream.read_exact(&mut reply).expect("all of it");
}

#[test]
fn an_unlock_right_behind_a_lock_does_not_overtake_it() {
    const ROUNDS: u32 = 300;
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    let mut stream = TcpStream::connect(server.address).expect("connected");
    for round in 0..ROUNDS {
        let lock = alock("a", &file, round, (round.into(), 1));
        let cookie = b"cookie";
        let taken = record(2 * round, Operation::Lock, &a.lock_args(cookie, lock, EXCLUSIVE));
        // A FreeBSD client's handle names the thread that calls, and is another for each.
        let lock = Lock { oh: b"another thread", ..lock };
        let given = record(2 * round + 1, Operation::Unlock, &UnlockArgs { cookie, lock });
        stream.write_all(&[taken, given].concat()).expect("sent");
        skip_reply(&mut stream);
        skip_reply(&mut stream);
    }
    // Nothing was left that nobody would ever give up.
    let mut b = Client::connect(&server, "b");
    assert_eq!(b.test(&file, 1, (0, 0), true), Ok(Stat::Granted));
}
