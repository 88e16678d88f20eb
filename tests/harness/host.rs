//! A client host as the server's callbacks see it: a port mapper on port 111, a lock manager and
//! a status monitor, which note what they are called with and answer as they are told.
//!
//! Port 111 is free for it because the test's thread, and so its server, has a network of its own.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cleat_nlm::monitor::Status;
use cleat_nlm::nsm::StateChange;
use cleat_nlm::wire::{PROGRAM, Res, Stat, TestArgs, TestReply, TestRes};
use cleat_nlm::{Message, Operation, Procedure, Version};
use cleat_rpc::message::{fault_reply, success_header};
use cleat_rpc::portmap::{self, Binding, Mapping, universal_address};
use cleat_rpc::record::mark;
use cleat_rpc::{CallHeader, Fault, Reader, Writer};

use super::{NSM, is_root};

/// Gives this thread, and every process and thread that it starts, a network of its own, in which
/// all of 127.0.0.0/8 and ::1 are hosts. False where that takes root and we are not.
#[must_use]
pub fn own_network() -> bool {
    if !is_root("a network of its own") {
        return false;
    }
    // SAFETY: nothing here relies on descriptors or directories that the flag would part.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a network");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip");
    assert!(up.success(), "loopback is up");
    true
}

/// Gives this thread's own network a link with the addresses fe80::1 and fe80::2; the one that ends
/// so, with its port and its interface.
pub fn link_local() -> impl Fn(u16, u16) -> SocketAddr {
    for words in [
        "link add left type bridge",
        "link set left up",
        "address add fe80::1/64 dev left nodad",
        "address add fe80::2/64 dev left nodad",
    ] {
        assert!(Command::new("ip").args(words.split(' ')).status().expect("ip").success());
    }
    let scope = nix::net::if_::if_nametoindex("left").expect("an interface");
    move |last, port| {
        let address = [0xfe80, 0, 0, 0, 0, 0, 0, last].into();
        SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope))
    }
}

/// Gives this thread, and every process and thread that it starts, mounts of its own, and a file
/// by which the machine's boot is known there: whoever writes another into it has booted.
pub fn own_boot(file: &Path) {
    // SAFETY: nothing here relies on descriptors or directories that the flag would part.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.expect("mounts");
    std::fs::write(file, "first").expect("a file");
    let file = file.to_str().expect("text");
    for words in
        [&["--make-rprivate", "/"][..], &["--bind", file, "/proc/sys/kernel/random/boot_id"]]
    {
        assert!(Command::new("mount").args(words).status().expect("mount").success(), "{words:?}");
    }
}

/// What a callback said, and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub from: IpAddr,
    pub udp: bool,
    pub version: Version,
    /// GRANTED_MSG.
    pub message: bool,
    pub cookie: Vec<u8>,
    pub exclusive: bool,
    pub caller_name: Vec<u8>,
    pub fh: Vec<u8>,
    pub oh: Vec<u8>,
    pub svid: u32,
    pub range: (u64, u64),
}

/// The result of a message: NLM_*_RES.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resulted {
    pub from: SocketAddr,
    pub udp: bool,
    pub version: Version,
    pub operation: Operation,
    pub cookie: Vec<u8>,
    pub stat: Stat,
    /// Of a TEST that is denied: the holder's svid, offset and length.
    pub holder: Option<(u32, u64, u64)>,
}

/// An SM_NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notified {
    pub from: IpAddr,
    pub name: String,
    pub state: i32,
}

/// What this host's status monitor tells its lock manager of another host, as it has Linux's do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub from_reserved_port: bool,
    pub name: String,
    pub state: i32,
    pub private: [u8; 16],
}

/// The procedure of NLM's program, version 3, that Linux's lock manager wants to be told by.
pub const TELL: (u32, u32, u32) = (PROGRAM, 3, 16);

/// How the lock manager answers a GRANTED call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    Stat(Stat),
    /// Nothing, as if the answer were lost.
    Nothing,
    /// PROC_UNAVAIL.
    Unavailable,
}

/// The host. Its threads end with the test's process.
pub struct Host {
    pub ip: IpAddr,
    granted: Receiver<Granted>,
    resulted: Receiver<Resulted>,
    notified: Receiver<Notified>,
    told: Receiver<Told>,
    shared: Arc<Shared>,
}

struct Shared {
    /// What the port mapper tells.
    port: Mutex<u16>,
    /// How often it was asked.
    questions: AtomicU32,
    answers: Mutex<VecDeque<Say>>,
    /// Whether NLM_GRANTED is a procedure that it has.
    messages_only: AtomicBool,
    /// Whether its port mapper knows rpcbind version 3 and not 4.
    rpcbind_3: AtomicBool,
    /// Whether its port mapper knows programs on TCP alone.
    tcp_only: AtomicBool,
    granted: Mutex<Sender<Granted>>,
    resulted: Mutex<Sender<Resulted>>,
    notified: Mutex<Sender<Notified>>,
    /// Whether it takes calls and answers none, as a host that is frozen.
    silent: AtomicBool,
    told: Mutex<Sender<Told>>,
}

impl Host {
    /// A host at an address of loopback that takes every lock it is granted.
    pub fn new(ip: IpAddr) -> Self {
        Self::at(SocketAddr::new(ip, 0))
    }

    /// The same at an address with its interface; the port does not matter.
    pub fn at(mut address: SocketAddr) -> Self {
        address.set_port(0);
        let (granted, heard_granted) = channel();
        let (resulted, heard_resulted) = channel();
        let (notified, heard_notified) = channel();
        let (told, heard_told) = channel();
        let shared = Arc::new(Shared {
            port: Mutex::new(0),
            questions: AtomicU32::new(0),
            answers: Mutex::default(),
            messages_only: AtomicBool::new(false),
            rpcbind_3: AtomicBool::new(false),
            tcp_only: AtomicBool::new(false),
            granted: Mutex::new(granted),
            resulted: Mutex::new(resulted),
            notified: Mutex::new(notified),
            silent: AtomicBool::new(false),
            told: Mutex::new(told),
        });
        *shared.port.lock().expect("a port") = serve(&shared, address);
        address.set_port(portmap::PORT);
        serve(&shared, address);
        let (granted, resulted) = (heard_granted, heard_resulted);
        let (notified, told) = (heard_notified, heard_told);
        Self { ip: address.ip(), granted, resulted, notified, told, shared }
    }

    /// How the next GRANTED calls are answered; those after them are taken.
    pub fn answers(&self, answers: impl IntoIterator<Item = Say>) {
        self.shared.answers.lock().expect("answers").extend(answers);
    }

    /// Answers nothing any more, or answers again.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// Has the port mapper tell another port, and returns the one that it told.
    pub fn tell_port(&self, port: u16) -> u16 {
        std::mem::replace(&mut *self.shared.port.lock().expect("a port"), port)
    }

    /// Knows grants as messages alone from now on, as HP-UX does.
    pub fn messages_only(&self) {
        self.shared.messages_only.store(true, Ordering::Relaxed);
    }

    /// Has a port mapper of rpcbind version 3 from now on.
    pub fn rpcbind_3(&self) {
        self.shared.rpcbind_3.store(true, Ordering::Relaxed);
    }

    /// Has programs on TCP alone from now on.
    pub fn tcp_only(&self) {
        self.shared.tcp_only.store(true, Ordering::Relaxed);
    }

    /// How often its port mapper was asked for its lock manager.
    pub fn questions(&self) -> u32 {
        self.shared.questions.load(Ordering::Relaxed)
    }

    /// The next result of a message.
    pub fn resulted(&self, patience: Duration) -> Resulted {
        self.resulted.recv_timeout(patience).expect("a result")
    }

    /// Makes sure that no result comes.
    pub fn not_resulted(&self, patience: Duration) {
        assert_eq!(self.resulted.recv_timeout(patience), Err(RecvTimeoutError::Timeout));
    }

    /// The next GRANTED call.
    pub fn granted(&self, patience: Duration) -> Granted {
        self.granted.recv_timeout(patience).expect("a GRANTED call")
    }

    /// Makes sure that no GRANTED call comes.
    pub fn not_granted(&self, patience: Duration) {
        assert_eq!(self.granted.recv_timeout(patience), Err(RecvTimeoutError::Timeout));
    }

    /// What the status monitor tells next, if it does within `patience`.
    pub fn told(&self, patience: Duration) -> Option<Told> {
        self.told.recv_timeout(patience).ok()
    }

    /// The SM_NOTIFYs that come until `patience` is over or there are `count`; in order.
    pub fn notified(&self, count: usize, patience: Duration) -> Vec<Notified> {
        let next = || self.notified.recv_timeout(patience).ok();
        let mut heard: Vec<Notified> = std::iter::from_fn(next).take(count).collect();
        heard.sort();
        heard
    }
}

/// Answers TCP and UDP at an address, and returns its port.
fn serve(shared: &Arc<Shared>, at: SocketAddr) -> u16 {
    let tcp = TcpListener::bind(at).expect("a listener");
    let at = tcp.local_addr().expect("its address");
    let udp = UdpSocket::bind(at).expect("a socket");
    let of_tcp = Arc::clone(shared);
    std::thread::spawn(move || {
        for stream in tcp.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&of_tcp);
            std::thread::spawn(move || connection(stream, &shared));
        }
    });
    let of_udp = Arc::clone(shared);
    std::thread::spawn(move || {
        let mut record = vec![0; 65_536];
        while let Ok((length, peer)) = udp.recv_from(&mut record) {
            if let Some(reply) = of_udp.answer(&record[..length], peer, true) {
                let _ = udp.send_to(&reply, peer);
            }
        }
    });
    at.port()
}

fn connection(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let peer = stream.peer_addr().ok()?;
    loop {
        let mut header = [0; 4];
        stream.read_exact(&mut header).ok()?;
        let mut record = vec![0; (u32::from_be_bytes(header) & 0x7fff_ffff) as usize];
        stream.read_exact(&mut record).ok()?;
        if let Some(reply) = shared.answer(&record, peer, false) {
            stream.write_all(&[&mark(reply.len())[..], &reply].concat()).ok()?;
        }
    }
}

impl Shared {
    fn answer(&self, record: &[u8], peer: SocketAddr, udp: bool) -> Option<Vec<u8>> {
        if self.silent.load(Ordering::SeqCst) {
            return None;
        }
        let (header, mut arguments) = CallHeader::decode(record).expect("a call");
        let mut reply = Writer::new();
        reply.raw(&success_header(header.xid));
        match (header.program, header.version, header.procedure) {
            (portmap::PROGRAM, 2, portmap::v2::GETPORT) => {
                let asked: Mapping = arguments.get().expect("a mapping");
                assert_eq!(asked.protocol, if udp { 17 } else { 6 });
                self.questions.fetch_add(1, Ordering::Relaxed);
                let unknown = udp && self.tcp_only.load(Ordering::Relaxed);
                let port = *self.port.lock().expect("a port");
                reply.u32(if unknown { 0 } else { port.into() });
            }
            (portmap::PROGRAM, 4, portmap::v3::GETADDR)
                if self.rpcbind_3.load(Ordering::Relaxed) =>
            {
                reply = fault_reply(header.xid, Fault::ProgramMismatch { low: 2, high: 3 });
            }
            (portmap::PROGRAM, 3 | 4, portmap::v3::GETADDR) => {
                self.questions.fetch_add(1, Ordering::Relaxed);
                let _: Binding = arguments.get().expect("a binding");
                let port = *self.port.lock().expect("a port");
                let address = universal_address(SocketAddr::new(peer.ip(), port));
                reply.opaque(address.as_bytes());
            }
            called if called == TELL => {
                let status: Status<'_> = arguments.get().expect("a status");
                let name = String::from_utf8(status.mon_name.to_vec()).expect("text");
                let Status { state, private, .. } = status;
                let from_reserved_port = peer.port() < 1024;
                let told = Told { from_reserved_port, name, state, private };
                self.told.lock().expect("a sender").send(told).ok()?;
            }
            (PROGRAM, version, number) => {
                let version = Version::of(version).expect("a version");
                let procedure = Procedure::of(version, number).expect("a procedure");
                let from = (peer, udp, version);
                match procedure {
                    Procedure::Null => {}
                    Procedure::Call(Operation::Granted) => {
                        reply = self.granted(header.xid, &mut arguments, reply, from)?;
                    }
                    Procedure::Message(Operation::Granted) => {
                        let args = TestArgs::read(&mut arguments, version).expect("arguments");
                        self.hear(&args, from, true);
                    }
                    Procedure::Result(operation) => self.result(operation, &mut arguments, from),
                    other => panic!("nobody calls {other:?}"),
                }
            }
            (program, version, procedure) if (program, version, procedure) == (NSM.0, 1, 6) => {
                let change: StateChange<'_> = arguments.get().expect("a change");
                let name = String::from_utf8(change.mon_name.to_vec()).expect("text");
                let notified = Notified { from: peer.ip(), name, state: change.state };
                self.notified.lock().expect("a sender").send(notified).ok()?;
            }
            other => panic!("nobody calls {other:?}"),
        }
        Some(reply.into_bytes().to_vec())
    }

    fn granted(
        &self,
        xid: u32,
        arguments: &mut Reader<'_>,
        mut reply: Writer,
        from: (SocketAddr, bool, Version),
    ) -> Option<Writer> {
        if self.messages_only.load(Ordering::Relaxed) {
            return Some(fault_reply(xid, Fault::ProcedureUnavailable));
        }
        let args = TestArgs::read(arguments, from.2).expect("arguments");
        let say = self.answers.lock().expect("answers").pop_front();
        self.hear(&args, from, false);
        match say.unwrap_or(Say::Stat(Stat::Granted)) {
            Say::Stat(stat) => Res { cookie: args.cookie, stat }.write(&mut reply, from.2),
            Say::Nothing => return None,
            Say::Unavailable => return Some(fault_reply(xid, Fault::ProcedureUnavailable)),
        }
        Some(reply)
    }

    fn hear(
        &self,
        args: &TestArgs<'_>,
        (peer, udp, version): (SocketAddr, bool, Version),
        message: bool,
    ) {
        let granted = Granted {
            from: peer.ip(),
            udp,
            version,
            message,
            cookie: args.cookie.to_vec(),
            exclusive: args.exclusive,
            caller_name: args.lock.caller_name.to_vec(),
            fh: args.lock.fh.to_vec(),
            oh: args.lock.oh.to_vec(),
            svid: args.lock.svid,
            range: (args.lock.offset, args.lock.length),
        };
        let _ = self.granted.lock().expect("a sender").send(granted);
    }

    fn result(
        &self,
        operation: Operation,
        arguments: &mut Reader<'_>,
        (from, udp, version): (SocketAddr, bool, Version),
    ) {
        let (cookie, stat, holder) = if operation == Operation::Test {
            let result = TestRes::read(arguments, version).expect("a result");
            let (stat, holder) = match result.reply {
                TestReply::Stat(stat) => (stat, None),
                TestReply::Denied(by) => (Stat::Denied, Some((by.svid, by.offset, by.length))),
            };
            (result.cookie, stat, holder)
        } else {
            let result = Res::read(arguments, version).expect("a result");
            (result.cookie, result.stat, None)
        };
        let cookie = cookie.to_vec();
        let resulted = Resulted { from, udp, version, operation, cookie, stat, holder };
        let _ = self.resulted.lock().expect("a sender").send(resulted);
    }
}
