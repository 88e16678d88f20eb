//! A whole server under bytes that no client sends: it answers or hangs up, and goes on serving.

mod harness;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use cleat_lock::Access;
use cleat_nlm::wire::{
    CancelArgs, Lock, LockArgs, Notify, Res, Share, ShareArgs, Stat, TestArgs, UnlockArgs,
};
use cleat_nlm::{Message, Operation, Procedure, Version};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::{CallHeader, Credential, Writer};
use harness::{Client, EXCLUSIVE, MOUNT, NFS, NLM, NSM, Server, Site, connect_from, resident};

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

const PROGRAMS: [((u32, u32), u32); 7] = [
    (NFS, 22),
    (MOUNT, 6),
    (NLM, 24),
    ((NLM.0, 3), 24),
    ((NLM.0, 2), 5),
    ((NLM.0, 1), 24),
    (NSM, 7),
];

/// SplitMix64: the same bytes in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).expect("64 bits") % bound
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect()
    }
}

/// The server is whole: somebody else can still lock.
fn still_serves(server: &Server, site: &Site) {
    let mut client = Client::connect(server, "good");
    let file = client.file(site);
    assert_eq!(client.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(client.unlock(&file, 1, (0, 1)), Stat::Granted);
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn every_procedure_stands_any_arguments() {
    let site = Site::new();
    let server = site.serve();
    let mut chance = Chance(1);
    let mut client = Client::connect(&server, "bad");
    let root = client.mount(&site.export).expect("mounted");
    for round in 0..40 {
        for ((program, version), procedures) in PROGRAMS {
            for procedure in 0..=procedures {
                let mut arguments = chance.bytes(200);
                // A good handle leads deeper into a procedure than chance does.
                if round % 2 == 0 {
                    let mut front = Writer::new();
                    front.opaque(&root);
                    arguments.splice(..0, front.into_bytes());
                }
                let answer =
                    client.call((program, version), procedure, &|writer| writer.raw(&arguments));
                let known = matches!(answer, Ok(_) | Err(ReplyError::NotRun(2..=4)));
                assert!(known, "{program} {procedure}: {answer:?}");
            }
        }
    }
    still_serves(&server, &site);
}

/// Arguments as a client writes them, for each procedure that has any.
fn lock_arguments(procedure: Procedure, version: Version, fh: &[u8]) -> Vec<u8> {
    use Operation::{Cancel, Granted, Lock as Locks, Test, Unlock};
    let (cookie, exclusive, block) = (&b"cookie"[..], true, false);
    let lock = Lock { caller_name: b"bad", fh, oh: b"owner", svid: 1, offset: 0, length: 1 };
    let share =
        Share { caller_name: b"bad", fh, oh: b"owner", deny: Access::Write, access: Access::Both };
    let mut writer = Writer::new();
    match procedure {
        Procedure::Null => {}
        Procedure::Call(Test | Granted) | Procedure::Message(Test | Granted) => {
            TestArgs { cookie, exclusive, lock }.write(&mut writer, version);
        }
        Procedure::Call(Locks) | Procedure::Message(Locks) | Procedure::NmLock => {
            let args = LockArgs { cookie, block, exclusive, lock, reclaim: false, state: 1 };
            args.write(&mut writer, version);
        }
        Procedure::Call(Cancel) | Procedure::Message(Cancel) => {
            CancelArgs { cookie, block, exclusive, lock }.write(&mut writer, version);
        }
        Procedure::Call(Unlock) | Procedure::Message(Unlock) => {
            UnlockArgs { cookie, lock }.write(&mut writer, version);
        }
        Procedure::Result(_) => Res { cookie, stat: Stat::Granted }.write(&mut writer, version),
        Procedure::Share | Procedure::Unshare => {
            ShareArgs { cookie, share, reclaim: false }.write(&mut writer, version);
        }
        Procedure::FreeAll => Notify { name: b"bad", state: 0 }.write(&mut writer, version),
    }
    writer.into_bytes().to_vec()
}

/// Chance alone seldom gets past the first field: here most of the bytes are right.
#[test]
fn every_lock_procedure_stands_arguments_that_are_almost_right() {
    let site = Site::new();
    let server = site.serve();
    let mut chance = Chance(4);
    let mut clients = [
        Client::connect(&server, "bad"),
        Client::over_udp(server.address, "bad", Ipv4Addr::LOCALHOST.into()),
    ];
    let file = clients[0].file(&site);
    let procedures = Version::ALL.into_iter().flat_map(|version| {
        (0..24).filter_map(move |number| Some((version, Procedure::of(version, number)?)))
    });
    for (version, procedure) in procedures {
        for round in 0..60 {
            let mut arguments = lock_arguments(procedure, version, &file);
            for _ in 0..chance.below(4) {
                if !arguments.is_empty() {
                    let at = chance.below(arguments.len());
                    arguments[at] = u8::try_from(chance.below(256)).expect("a byte");
                }
            }
            if chance.below(4) == 0 {
                arguments.truncate(chance.below(arguments.len() + 1));
            }
            let program = (NLM.0, version.number());
            let answer = clients[round % 2]
                .call(program, procedure.number(), &|writer| writer.raw(&arguments));
            // 5: too many messages are pending, for nobody here takes results.
            let known = matches!(answer, Ok(_) | Err(ReplyError::NotRun(4 | 5)));
            assert!(known, "{version:?} {procedure:?}: {answer:?}");
        }
    }
    clients[0].version = Version::V3;
    clients[0].free_all();
    for client in &mut clients {
        client.notify("bad", 3);
    }
    assert_eq!(clients[0].unlock(&file, 1, (0, 0)), Stat::Granted);
    assert!(!server.log().contains("panicked"), "{}", server.log());
    let resident = resident(&server);
    assert!(resident < 300 << 20, "{} MiB", resident >> 20);
}

#[test]
fn no_stream_of_bytes_hurts_another_connection() {
    let site = Site::new();
    let server = site.serve();
    let mut chance = Chance(2);
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address).expect("connected");
        let mut junk = chance.bytes(4096);
        // Half of them begin like a record, so that the record is read.
        if chance.below(2) == 0 && junk.len() > 8 {
            let length = u32::try_from(junk.len() - 4).expect("short") | 1 << 31;
            junk[..4].copy_from_slice(&length.to_be_bytes());
        }
        // The server may have hung up by now.
        let _ = stream.write_all(&junk);
    }
    still_serves(&server, &site);
}

#[test]
fn no_datagram_hurts() {
    let site = Site::new();
    let server = site.serve();
    let mut chance = Chance(3);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    for xid in 0..500 {
        let ((program, version), procedures) = PROGRAMS[chance.below(PROGRAMS.len())];
        let procedure = u32::try_from(chance.below(procedures as usize + 1)).expect("small");
        let mut message = Writer::new();
        let credential = Credential::None;
        CallHeader { xid, program, version, procedure, credential }.encode(&mut message);
        let mut datagram = message.into_bytes().to_vec();
        datagram.truncate(chance.below(datagram.len() + 8));
        datagram.extend(chance.bytes(100));
        socket.send_to(&datagram, server.address).expect("sent");
    }
    still_serves(&server, &site);
}

#[test]
fn a_length_that_is_promised_and_not_sent_costs_nothing() {
    let site = Site::new();
    let server = site.serve();
    still_serves(&server, &site);
    let before = resident(&server);
    let streams: Vec<TcpStream> = (0..500_u16)
        .map(|n| {
            let mut stream = connect_from(&server, if n % 2 == 0 { A } else { B });
            stream.write_all(&(1_000_000_u32 | 1 << 31).to_be_bytes()).expect("sent");
            stream.write_all(&[0; 100]).expect("sent");
            stream
        })
        .collect();
    still_serves(&server, &site);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 100 << 20, "{} MiB for {} promises", grown >> 20, streams.len());
}

#[test]
fn nfs_is_not_served_in_datagrams() {
    let site = Site::new();
    let server = site.serve();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    for ((program, version), served) in [(NFS, false), (MOUNT, true), (NLM, true), (NSM, true)] {
        let mut message = Writer::new();
        let credential = Credential::None;
        CallHeader { xid: program, program, version, procedure: 0, credential }
            .encode(&mut message);
        socket.send_to(&message.into_bytes(), server.address).expect("sent");
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("an answer");
        let (xid, results) = decode_reply(&buffer[..length]).expect("a reply");
        let expected = if served { Ok(()) } else { Err(ReplyError::NotRun(1)) };
        assert_eq!((xid, results.map(drop)), (program, expected));
    }
}
