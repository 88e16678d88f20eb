//! A client host as the server's callbacks see it: a port mapper on port 111, a lock manager and
//! a status monitor, which note what they are called with and answer as they are told.
//!
//! Port 111 is free for it because the test's thread, and so its server, has a network of its own.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cleat_nlm::nsm::StateChange;
use cleat_nlm::wire::{Res, Stat, TestArgs};
use cleat_rpc::message::success_header;
use cleat_rpc::portmap::{self, Binding, Mapping, universal_address};
use cleat_rpc::record::mark;
use cleat_rpc::{CallHeader, Reader, Writer};

use super::{NLM, NSM};

/// Gives this thread, and every process and thread that it starts, a network of its own, in which
/// all of 127.0.0.0/8 and ::1 are hosts. False where that takes root and we are not.
#[must_use]
pub fn own_network() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: a network of its own needs root");
        return false;
    }
    // SAFETY: nothing here relies on descriptors or directories that the flag would part.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
        .expect("a network");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip");
    assert!(up.success(), "loopback is up");
    true
}

/// What a callback said, and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    pub from: IpAddr,
    pub udp: bool,
    pub cookie: Vec<u8>,
    pub exclusive: bool,
    pub caller_name: Vec<u8>,
    pub fh: Vec<u8>,
    pub oh: Vec<u8>,
    pub svid: u32,
    pub range: (u64, u64),
}

/// An SM_NOTIFY.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notified {
    pub from: IpAddr,
    pub name: String,
    pub state: i32,
}

/// How the lock manager answers a GRANTED call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Say {
    Stat(Stat),
    /// Nothing, as if the answer were lost.
    Nothing,
}

/// The host. Its threads end with the test's process.
pub struct Host {
    pub ip: IpAddr,
    granted: Receiver<Granted>,
    notified: Receiver<Notified>,
    shared: Arc<Shared>,
}

struct Shared {
    /// What the port mapper tells.
    port: Mutex<u16>,
    answers: Mutex<VecDeque<Say>>,
    granted: Mutex<Sender<Granted>>,
    notified: Mutex<Sender<Notified>>,
    /// Whether it takes calls and answers none, as a host that is frozen.
    silent: AtomicBool,
}

impl Host {
    /// A host at an address of loopback that takes every lock it is granted.
    pub fn new(ip: IpAddr) -> Self {
        let (granted, heard_granted) = channel();
        let (notified, heard_notified) = channel();
        let shared = Arc::new(Shared {
            port: Mutex::new(0),
            answers: Mutex::default(),
            granted: Mutex::new(granted),
            notified: Mutex::new(notified),
            silent: AtomicBool::new(false),
        });
        *shared.port.lock().expect("a port") = serve(&shared, SocketAddr::new(ip, 0));
        serve(&shared, SocketAddr::new(ip, portmap::PORT));
        Self { ip, granted: heard_granted, notified: heard_notified, shared }
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

    /// The next GRANTED call.
    pub fn granted(&self, patience: Duration) -> Granted {
        self.granted.recv_timeout(patience).expect("a GRANTED call")
    }

    /// Makes sure that no GRANTED call comes.
    pub fn not_granted(&self, patience: Duration) {
        assert_eq!(self.granted.recv_timeout(patience), Err(RecvTimeoutError::Timeout));
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
                reply.u32((*self.port.lock().expect("a port")).into());
            }
            (portmap::PROGRAM, 4, portmap::v3::GETADDR) => {
                let _: Binding = arguments.get().expect("a binding");
                let port = *self.port.lock().expect("a port");
                let address = universal_address(SocketAddr::new(peer.ip(), port));
                reply.opaque(address.as_bytes());
            }
            (program, 4, 0) if program == NLM.0 => {}
            (program, version, procedure) if (program, version, procedure) == (NLM.0, 4, 5) => {
                self.granted(&mut arguments, &mut reply, peer, udp)?;
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
        arguments: &mut Reader<'_>,
        reply: &mut Writer,
        peer: SocketAddr,
        udp: bool,
    ) -> Option<()> {
        let args: TestArgs<'_> = arguments.get().expect("arguments");
        let say = self.answers.lock().expect("answers").pop_front();
        let granted = Granted {
            from: peer.ip(),
            udp,
            cookie: args.cookie.to_vec(),
            exclusive: args.exclusive,
            caller_name: args.lock.caller_name.to_vec(),
            fh: args.lock.fh.to_vec(),
            oh: args.lock.oh.to_vec(),
            svid: args.lock.svid,
            range: (args.lock.offset, args.lock.length),
        };
        self.granted.lock().expect("a sender").send(granted).ok()?;
        match say.unwrap_or(Say::Stat(Stat::Granted)) {
            Say::Stat(stat) => reply.put(&Res { cookie: args.cookie, stat }),
            Say::Nothing => return None,
        }
        Some(())
    }
}
