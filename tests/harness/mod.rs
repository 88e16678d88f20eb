//! A server process of its own for each test, and a small client that speaks RPC to it.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod held;
pub mod host;

pub mod nfs;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cleat_lock::Access;
use cleat_nlm::nsm::{StateChange, procedure as nsm};
use cleat_nlm::wire::{
    CancelArgs, Lock, LockArgs, Notify, Res, Share, ShareArgs, ShareRes, Stat, TestArgs, TestReply,
    TestRes, UnlockArgs,
};
use cleat_nlm::{Message, Operation, Procedure, Version};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::record::mark;
use cleat_rpc::{AuthSys, CallHeader, Credential, Reader, Writer};
use tempfile::TempDir;

pub const NFS: (u32, u32) = (100_003, 3);
pub const MOUNT: (u32, u32) = (100_005, 3);
pub const NLM: (u32, u32) = (cleat_nlm::wire::PROGRAM, 4);
pub const NSM: (u32, u32) = (cleat_nlm::nsm::PROGRAM, 1);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether this process is root's. A test that is not run for want of it says so; where every test
/// is to run, in CI, it fails.
#[must_use]
pub fn is_root(what: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{what} needs root, and CI is to run every test");
    eprintln!("not run: {what} needs root");
    false
}

/// Directories that outlive a server process: what it serves and what it remembers.
pub struct Site {
    directory: TempDir,
    pub export: PathBuf,
}

impl Site {
    pub fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let export = directory.path().join("export");
        std::fs::create_dir(&export).expect("an export");
        std::fs::write(export.join("file"), "content").expect("a file");
        Self { directory, export }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A server that serves the export to everybody as they are.
    pub fn serve(&self) -> Server {
        self.serve_with(&["--grace-s", "20"])
    }

    pub fn serve_with(&self, more: &[&str]) -> Server {
        let export = format!("{}:rw,no_root_squash", self.export.display());
        let mut arguments = vec!["--export", &export];
        arguments.extend_from_slice(more);
        Server::start(self.path(), &arguments)
    }
}

/// A running server.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub log: PathBuf,
}

impl Server {
    /// Starts `cleat serve` on a free port of IPv4 and waits until it is ready.
    pub fn start(home: &Path, more: &[&str]) -> Self {
        Self::start_at(home, "0.0.0.0:0", more)
    }

    /// The same on given addresses; its clients go to the first of them.
    pub fn start_at(home: &Path, listen: &str, more: &[&str]) -> Self {
        Self::start_as(home, listen, "off", more)
    }

    /// The same with a word for how clients find it.
    pub fn start_as(home: &Path, listen: &str, rpcbind: &str, more: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_cleat")), home, listen, rpcbind, more)
    }

    /// As [`Server::start`], by a user who is not root and owns what is served and remembered.
    pub fn start_unprivileged(home: &Path, user: u32, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleat"));
        std::os::unix::process::CommandExt::uid(&mut command, user);
        std::os::unix::process::CommandExt::gid(&mut command, user);
        Self::start_by(command, home, "0.0.0.0:0", "off", more)
    }

    fn start_by(
        mut command: Command,
        home: &Path,
        listen: &str,
        rpcbind: &str,
        more: &[&str],
    ) -> Self {
        static LOGS: AtomicU32 = AtomicU32::new(0);
        let number = LOGS.fetch_add(1, Ordering::Relaxed);
        let log = home.join(format!("server-{number}.log"));
        let mut child = command
            .args(["serve", "--listen", listen, "--rpcbind", rpcbind])
            .arg("--state-dir")
            .arg(home.join("state"))
            .args(more)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("a server");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.starts_with("ready "))
            .unwrap_or_else(|| {
                panic!("not ready: {}", std::fs::read_to_string(&log).expect("log"))
            });
        // Somebody must read what else it prints.
        std::thread::spawn(move || lines.for_each(drop));
        let first = ready.split_ascii_whitespace().nth(1).expect("an address");
        let bound: SocketAddr = first.parse().expect("an address");
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), bound.port());
        Self { child, address, log }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    /// How the process ended, which it does by itself.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().expect("reaped")
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(mut self) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        self.child.wait().expect("reaped")
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Resident memory of the server, in bytes.
pub fn resident(server: &Server) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", server.id())).expect("statm");
    let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096
}

/// A connection from any address of loopback.
pub fn connect_from(server: &Server, from: IpAddr) -> TcpStream {
    connect_at(server.address, SocketAddr::new(from, 0))
}

/// The same to any address of the server, from a port of the client's choice.
fn connect_at(server: SocketAddr, from: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None);
    let socket = socket.expect("a socket");
    // A port that was chosen may have been another's a moment ago.
    socket.set_reuse_address(from.port() != 0).expect("set");
    socket.bind(&from.into()).expect("bound");
    socket.connect(&server.into()).expect("connected");
    TcpStream::from(socket)
}

/// A client host: an address of loopback, a name, and a connection.
pub struct Client {
    pub name: String,
    pub credential: Credential,
    pub state: i32,
    pub cookie: Vec<u8>,
    /// The version of NLM that it speaks.
    pub version: Version,
    link: Link,
    xid: u32,
}

enum Link {
    Tcp(TcpStream),
    /// And the server's address.
    Udp(UdpSocket, SocketAddr),
}

impl Link {
    fn local(&self) -> SocketAddr {
        let local = match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Udp(socket, _) => socket.local_addr(),
        };
        local.expect("an address")
    }

    /// Sends one record and returns the next that comes.
    fn exchange(&mut self, message: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Tcp(stream) => {
                stream.write_all(&[&mark(message.len())[..], message].concat())?;
                let mut header = [0; 4];
                stream.read_exact(&mut header)?;
                let mut record = vec![0; (u32::from_be_bytes(header) & 0x7fff_ffff) as usize];
                stream.read_exact(&mut record)?;
                Ok(record)
            }
            Self::Udp(socket, server) => {
                socket.send_to(message, *server)?;
                let mut record = vec![0; 65_536];
                let (length, from) = socket.recv_from(&mut record)?;
                assert_eq!(from, *server, "an answer comes from the address that was called");
                record.truncate(length);
                Ok(record)
            }
        }
    }
}

impl Client {
    /// Connects from 127.0.0.1.
    pub fn connect(server: &Server, name: &str) -> Self {
        Self::connect_from(server, name, Ipv4Addr::LOCALHOST.into())
    }

    pub fn connect_from(server: &Server, name: &str, from: IpAddr) -> Self {
        Self::connect_to(server.address, name, from)
    }

    /// Connects to any address of the server, from any address of loopback.
    pub fn connect_to(server: SocketAddr, name: &str, from: IpAddr) -> Self {
        Self::connect_at(server, name, SocketAddr::new(from, 0))
    }

    /// The same from a port of the client's choice.
    pub fn connect_at(server: SocketAddr, name: &str, from: SocketAddr) -> Self {
        let stream = connect_at(server, from);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::new(Link::Tcp(stream), name)
    }

    /// Speaks over UDP to any address of the server, from any address of loopback.
    pub fn over_udp(server: SocketAddr, name: &str, from: IpAddr) -> Self {
        Self::over_udp_at(server, name, SocketAddr::new(from, 0))
    }

    /// The same from an address with its interface, or a port of the client's choice.
    pub fn over_udp_at(server: SocketAddr, name: &str, from: SocketAddr) -> Self {
        let socket = UdpSocket::bind(from).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self::new(Link::Udp(socket, server), name)
    }

    fn new(link: Link, name: &str) -> Self {
        let sys = AuthSys { machine_name: name.into(), ..AuthSys::default() };
        let (name, credential) = (name.into(), Credential::Sys(sys));
        // No two of one address repeat each other's calls.
        static CLIENTS: AtomicU32 = AtomicU32::new(0);
        let xid = CLIENTS.fetch_add(1, Ordering::Relaxed) << 16;
        let (cookie, version) = (b"cookie".to_vec(), Version::V4);
        Self { name, credential, state: 1, cookie, version, link, xid }
    }

    /// The same client on a connection of its own, which numbers its calls as this one does.
    pub fn again(&self, server: SocketAddr) -> Self {
        let from = self.link.local().ip();
        let (name, credential) = (self.name.clone(), self.credential.clone());
        let Self { state, ref cookie, version, xid, .. } = *self;
        let link = Self::connect_to(server, &name, from).link;
        Self { name, credential, state, cookie: cookie.clone(), version, link, xid }
    }

    /// The same client on another connection: from the same port after the first one was reset, as
    /// Linux does it, or from any after the first one was closed.
    pub fn reconnected(self, server: SocketAddr, same_port: bool) -> Self {
        let Self { name, credential, state, cookie, version, link, xid } = self;
        let Link::Tcp(stream) = link else { panic!("over TCP") };
        let mut from = stream.local_addr().expect("an address");
        if same_port {
            // After a reset the port can be had at once.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
        } else {
            from.set_port(0);
        }
        drop(stream);
        let link = Self::connect_at(server, &name, from).link;
        Self { name, credential, state, cookie, version, link, xid }
    }

    /// How long its calls wait for an answer from now on.
    pub fn waits(&mut self, time: Duration) {
        let set = match &self.link {
            Link::Tcp(stream) => stream.set_read_timeout(Some(time)),
            Link::Udp(socket, _) => socket.set_read_timeout(Some(time)),
        };
        set.expect("a timeout");
    }

    /// Sends a call twice before it reads an answer: both answers.
    pub fn nfs_twice(&mut self, procedure: u32, arguments: &[u8]) -> [Vec<u8>; 2] {
        self.xid += 1;
        let (xid, credential) = (self.xid, self.credential.clone());
        let mut message = Writer::new();
        let (program, version) = NFS;
        CallHeader { xid, program, version, procedure, credential }.encode(&mut message);
        message.raw(arguments);
        let message = message.into_bytes();
        let Link::Tcp(stream) = &mut self.link else { panic!("over TCP") };
        let record = [&mark(message.len())[..], &message].concat();
        stream.write_all(&record.repeat(2)).expect("sent");
        [(); 2].map(|()| {
            let mut header = [0; 4];
            stream.read_exact(&mut header).expect("a mark");
            let mut record = vec![0; (u32::from_be_bytes(header) & 0x7fff_ffff) as usize];
            stream.read_exact(&mut record).expect("a reply");
            let (_, results) = decode_reply(&record).expect("a reply");
            results.expect("results").rest().to_vec()
        })
    }

    /// Gives the next call the number of the last one, as if that were sent again.
    pub fn repeat(&mut self) -> &mut Self {
        self.xid -= 1;
        self
    }

    /// Numbers its calls from now on as another client does.
    pub fn number_as(&mut self, other: &Self) {
        self.xid = other.xid;
    }

    /// Where its calls come from.
    pub fn address(&self) -> SocketAddr {
        self.link.local()
    }

    /// Acts as this user from now on.
    pub fn as_user(&mut self, uid: u32, gid: u32) {
        let sys =
            AuthSys { uid, gid, machine_name: self.name.clone().into(), ..AuthSys::default() };
        self.credential = Credential::Sys(sys);
    }

    /// Calls a procedure; its results, or why there are none.
    pub fn call(
        &mut self,
        (program, version): (u32, u32),
        procedure: u32,
        arguments: &dyn Fn(&mut Writer),
    ) -> Result<Vec<u8>, ReplyError> {
        self.try_call((program, version), procedure, arguments).expect("a reply")
    }

    /// The same where the server may be gone.
    pub fn try_call(
        &mut self,
        (program, version): (u32, u32),
        procedure: u32,
        arguments: &dyn Fn(&mut Writer),
    ) -> std::io::Result<Result<Vec<u8>, ReplyError>> {
        self.xid += 1;
        let (xid, credential) = (self.xid, self.credential.clone());
        let mut message = Writer::new();
        CallHeader { xid, program, version, procedure, credential }.encode(&mut message);
        arguments(&mut message);
        let record = self.link.exchange(&message.into_bytes())?;
        let (replied, results) = decode_reply(&record).expect("a reply");
        assert_eq!(replied, xid);
        Ok(results.map(|reader| reader.rest().to_vec()))
    }

    /// Calls a procedure of NLM in the version that this client speaks.
    pub fn try_nlm<'a>(
        &mut self,
        procedure: Procedure,
        arguments: &impl Message<'a>,
    ) -> std::io::Result<Result<Vec<u8>, ReplyError>> {
        let version = self.version;
        let program = (cleat_nlm::wire::PROGRAM, version.number());
        self.try_call(program, procedure.number(), &|writer| arguments.write(writer, version))
    }

    fn nlm<'a>(&mut self, procedure: Procedure, arguments: &impl Message<'a>) -> Vec<u8> {
        self.try_nlm(procedure, arguments).expect("a reply").expect("results")
    }

    /// Sends a message, which is answered with nothing.
    pub fn message<'a>(&mut self, operation: Operation, arguments: &impl Message<'a>) {
        assert!(self.nlm(Procedure::Message(operation), arguments).is_empty());
    }

    /// NLM_GRANTED_RES.
    pub fn granted_result(&mut self, cookie: &[u8], stat: Stat) {
        let result = Res { cookie, stat };
        assert!(self.nlm(Procedure::Result(Operation::Granted), &result).is_empty());
    }

    /// SHARE by an owner, or UNSHARE where nothing is asked for.
    pub fn share(&mut self, fh: &[u8], oh: &str, asked: Option<(Access, Access, bool)>) -> Stat {
        let (name, oh) = (self.name.clone(), oh.as_bytes());
        let (access, deny, reclaim) = asked.unwrap_or((Access::None, Access::None, false));
        let share = Share { caller_name: name.as_bytes(), fh, oh, deny, access };
        let args = ShareArgs { cookie: b"cookie", share, reclaim };
        let procedure = if asked.is_some() { Procedure::Share } else { Procedure::Unshare };
        let results = self.nlm(procedure, &args);
        let result = ShareRes::read(&mut Reader::new(&results), self.version).expect("a result");
        assert_eq!((result.cookie, result.sequence), (&b"cookie"[..], 0));
        result.stat
    }

    /// FREE_ALL.
    pub fn free_all(&mut self) {
        let name = self.name.clone();
        let args = Notify { name: name.as_bytes(), state: 0 };
        assert!(self.nlm(Procedure::FreeAll, &args).is_empty());
    }

    /// MNT: the handle of a path.
    pub fn mount(&mut self, path: &Path) -> Result<Vec<u8>, u32> {
        let path = path.to_str().expect("text").as_bytes();
        let results = self.call(MOUNT, 1, &|writer| writer.opaque(path)).expect("results");
        let mut reader = Reader::new(&results);
        match reader.u32().expect("a status") {
            0 => Ok(reader.opaque(64).expect("a handle").to_vec()),
            status => Err(status),
        }
    }

    /// LOOKUP: the handle of a name.
    pub fn lookup(&mut self, dir: &[u8], name: &str) -> Result<Vec<u8>, u32> {
        if let Link::Udp(socket, server) = &self.link {
            // NFS is served over TCP alone.
            let from = socket.local_addr().expect("an address").ip();
            return Self::connect_to(*server, &self.name, from).lookup(dir, name);
        }
        let arguments = |writer: &mut Writer| {
            writer.opaque(dir);
            writer.opaque(name.as_bytes());
        };
        let results = self.call(NFS, 3, &arguments).expect("results");
        let mut reader = Reader::new(&results);
        match reader.u32().expect("a status") {
            0 => Ok(reader.opaque(64).expect("a handle").to_vec()),
            status => Err(status),
        }
    }

    /// The handle of the site's one file.
    pub fn file(&mut self, site: &Site) -> Vec<u8> {
        let root = self.mount(&site.export).expect("mounted");
        self.lookup(&root, "file").expect("found")
    }

    pub fn lock(&mut self, fh: &[u8], svid: u32, range: (u64, u64), how: How) -> Stat {
        self.try_lock(fh, svid, range, how).expect("a reply")
    }

    /// LOCK where the server may be gone.
    pub fn try_lock(
        &mut self,
        fh: &[u8],
        svid: u32,
        range: (u64, u64),
        how: How,
    ) -> std::io::Result<Stat> {
        let (name, cookie) = (self.name.clone(), self.cookie.clone());
        let args = self.lock_args(&cookie, alock(&name, fh, svid, range), how);
        let results = self.try_nlm(Procedure::Call(Operation::Lock), &args)?;
        Ok(result(&results.expect("results"), &cookie))
    }

    /// The arguments of a LOCK by this client.
    pub fn lock_args<'a>(&self, cookie: &'a [u8], lock: Lock<'a>, how: How) -> LockArgs<'a> {
        let How { exclusive, block, reclaim } = how;
        LockArgs { cookie, block, exclusive, lock, reclaim, state: self.state }
    }

    pub fn unlock(&mut self, fh: &[u8], svid: u32, range: (u64, u64)) -> Stat {
        self.try_unlock(fh, svid, range).expect("a reply")
    }

    /// UNLOCK where the server may be gone.
    pub fn try_unlock(&mut self, fh: &[u8], svid: u32, range: (u64, u64)) -> std::io::Result<Stat> {
        let name = self.name.clone();
        let args = UnlockArgs { cookie: b"cookie", lock: alock(&name, fh, svid, range) };
        let results = self.try_nlm(Procedure::Call(Operation::Unlock), &args)?;
        Ok(result(&results.expect("results"), b"cookie"))
    }

    pub fn cancel(&mut self, fh: &[u8], svid: u32, range: (u64, u64), exclusive: bool) -> Stat {
        let name = self.name.clone();
        let lock = alock(&name, fh, svid, range);
        let args = CancelArgs { cookie: b"cookie", block: true, exclusive, lock };
        result(&self.nlm(Procedure::Call(Operation::Cancel), &args), b"cookie")
    }

    /// NM_LOCK.
    pub fn nm_lock(&mut self, fh: &[u8], svid: u32, range: (u64, u64), how: How) -> Stat {
        let name = self.name.clone();
        let args = self.lock_args(b"cookie", alock(&name, fh, svid, range), how);
        result(&self.nlm(Procedure::NmLock, &args), b"cookie")
    }

    /// SM_NOTIFY: says that it restarted, with this state.
    pub fn notify(&mut self, name: &str, state: i32) {
        let change = StateChange { mon_name: name.as_bytes(), state };
        self.call(NSM, nsm::NOTIFY, &|writer| writer.put(&change)).expect("an answer");
    }

    /// TEST: who is in the way, by svid, offset and length; or the status.
    pub fn test(
        &mut self,
        fh: &[u8],
        svid: u32,
        range: (u64, u64),
        exclusive: bool,
    ) -> Result<Stat, (u32, u64, u64)> {
        let name = self.name.clone();
        let args = TestArgs { cookie: b"cookie", exclusive, lock: alock(&name, fh, svid, range) };
        let results = self.nlm(Procedure::Call(Operation::Test), &args);
        let result = TestRes::read(&mut Reader::new(&results), self.version).expect("a result");
        assert_eq!(result.cookie, b"cookie");
        match result.reply {
            TestReply::Denied(holder) => Err((holder.svid, holder.offset, holder.length)),
            TestReply::Stat(stat) => Ok(stat),
        }
    }
}

/// A range of a file that a process of the client wants.
pub fn alock<'a>(name: &'a str, fh: &'a [u8], svid: u32, (offset, length): (u64, u64)) -> Lock<'a> {
    Lock { caller_name: name.as_bytes(), fh, oh: b"owner", svid, offset, length }
}

fn result(results: &[u8], cookie: &[u8]) -> Stat {
    let result: Res<'_> = Reader::new(results).get().expect("a result");
    assert_eq!(result.cookie, cookie);
    result.stat
}

/// How a LOCK asks.
#[derive(Clone, Copy, Default)]
pub struct How {
    pub exclusive: bool,
    pub block: bool,
    pub reclaim: bool,
}

pub const WAIT_SHARED: How = How { exclusive: false, block: true, reclaim: false };
pub const SHARED: How = How { exclusive: false, block: false, reclaim: false };
pub const EXCLUSIVE: How = How { exclusive: true, block: false, reclaim: false };
pub const WAIT: How = How { exclusive: true, block: true, reclaim: false };
pub const RECLAIM: How = How { exclusive: true, block: false, reclaim: true };

/// Asks again until the answer is there, or fails with the last one after `patience`.
pub fn until<T: PartialEq + std::fmt::Debug>(
    patience: Duration,
    expected: T,
    mut ask: impl FnMut() -> T,
) {
    let start = Instant::now();
    loop {
        let answer = ask();
        if answer == expected {
            return;
        }
        assert!(start.elapsed() < patience, "expected {expected:?}, at last got {answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
