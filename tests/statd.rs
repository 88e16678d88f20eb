//! NSM in a process with its test: what it ignores, refuses and counts, from addresses that no test
//! has.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cleat::lockd::{Lockd, Settings, Thread};
use cleat::rpc_server::{Answer, Call, Link, Program, Transport};
use cleat::statd::{Counters, MONITORED_MAX, Monitors, Statd, Telling};
use cleat::store::Store;
use cleat_lock::{FileId, Input, LockRequest, Mode, Outcome, Owner, Range};
use cleat_mount::{ClientRule, Export, ExportTable, Options, Who};
use cleat_nlm::Origin;
use cleat_nlm::monitor::{CALLBACK_PROCEDURE, CALLBACK_VERSION, Mon, MonId, MyId, Status};
use cleat_nlm::nsm::{PROGRAM, StatRes, StateChange, VERSION, procedure};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::{CallHeader, Credential, Encode, Fault, Reader, Writer};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Lab {
    statd: Statd,
    lockd: Lockd,
    thread: Option<Thread>,
    stop: CancellationToken,
    key: [u8; 16],
    _directory: TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
        self.lockd.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Lab {
    /// The one export is `secure` to 10.0.0.0/24 and not to others.
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let (store, records) = Store::open(directory.path()).expect("a store");
        let store = Arc::new(store);
        let identity = store.new_instance(false).expect("an identity");
        let settings = Settings {
            power: false,
            grace_ms: 1000,
            exact: true,
            core: cleat_lock::Config::default(),
        };
        let (events, _) = mpsc::unbounded_channel();
        let failed = CancellationToken::new();
        let started = Lockd::start(Arc::clone(&store) as _, records, settings, events, failed);
        let (lockd, thread) = started.expect("a thread");
        let rule = |who: &str, options: &str| ClientRule {
            who: Who::parse(who).expect(who),
            options: Options::parse(options).expect(options),
        };
        let rules = vec![rule("10.0.0.0/24", "rw,secure"), rule("*", "rw")];
        let exports = vec![Export::new(b"/srv", rules).expect("an export")];
        let exports = Arc::new(ExportTable::new(exports).expect("a table"));
        let monitors = Monitors::open(store, identity.host_state).expect("monitors");
        let stop = CancellationToken::new();
        let telling = Telling::default();
        let statd = Statd::new(lockd.clone(), &identity, telling, exports, monitors, stop.clone());
        Self {
            statd,
            lockd,
            thread: Some(thread),
            stop,
            key: identity.monitor_key,
            _directory: directory,
        }
    }

    /// A client of this name at the address of `peer` takes a lock.
    async fn lock(&self, name: &str, peer: &str, offset: u64) {
        let peer: SocketAddr = peer.parse().expect(peer);
        let transport = cleat_nlm::Transport::Tcp;
        let origin = Origin::new(name.as_bytes(), peer.ip(), [10, 0, 0, 1].into(), transport);
        let (token, id) = self.lockd.ticket();
        let locking = self.lockd.contacts().begin(&origin);
        let request = LockRequest {
            token,
            id,
            owner: Owner {
                owner_id: origin.owner_id(1).into(),
                client_id: origin.client_id().into(),
                share_name: "/srv".into(),
                note: Arc::default(),
            },
            file: FileId::new(*b"a file of 16 byt"),
            mode: Mode::Exclusive,
            range: Range::new(offset, 1).expect("a range"),
            wait: None,
            reclaim: false,
            incarnation: 1,
            contact: locking.put(|contact, _| contact),
        };
        assert_eq!(self.lockd.ask(Input::Lock(request)).await, Some(Outcome::Granted));
    }

    async fn held(&self) -> usize {
        self.lockd.look(|core| core.locks().count()).await.expect("a look")
    }

    async fn call(&self, peer: &str, number: u32, arguments: &impl Encode) -> Bytes {
        let mut writer = Writer::new();
        writer.put(arguments);
        self.try_call(peer, number, &writer.into_bytes()).await.expect("results")
    }

    async fn try_call(&self, peer: &str, number: u32, arguments: &[u8]) -> Result<Bytes, Fault> {
        let header = CallHeader {
            xid: 1,
            program: PROGRAM,
            version: VERSION,
            procedure: number,
            credential: Credential::None,
        };
        let call = Call {
            header,
            peer: peer.parse().expect(peer),
            local: SocketAddr::new([10, 0, 0, 1].into(), 2049),
            transport: Transport::Udp,
            link: Link::default(),
            arguments: Bytes::copy_from_slice(arguments),
        };
        let reply = match self.statd.call(call) {
            Answer::Now(reply) => reply,
            Answer::Later(reply) => reply.await,
        };
        reply.map(Writer::into_bytes)
    }

    async fn notify(&self, peer: &str, mon_name: &str, state: i32) {
        let change = StateChange { mon_name: mon_name.as_bytes(), state };
        assert!(self.call(peer, procedure::NOTIFY, &change).await.is_empty());
    }

    async fn mon(&self, peer: &str, mon_name: &str) -> StatRes {
        let my_id = MyId { my_name: b"here", program: 100_021, version: 3, procedure: 16 };
        let mon_id = MonId { mon_name: mon_name.as_bytes(), my_id };
        let results = self.call(peer, procedure::MON, &Mon { mon_id, private: [7; 16] }).await;
        Reader::new(&results).get().expect("a result")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_notice_releases_nothing_and_is_counted() {
    let lab = Lab::new();
    lab.lock("a", "10.0.0.2:700", 0).await;
    lab.notify("10.0.0.3:700", "a", 3).await;
    assert_eq!(lab.held().await, 1);
    let expected = Counters { ignored_unknown_address: 1, ..Counters::default() };
    assert_eq!(lab.statd.counters(), expected);
    // An export is secure to that host, and any user of it may have this port.
    lab.notify("10.0.0.2:1024", "a", 3).await;
    assert_eq!(lab.held().await, 1);
    let expected = Counters { ignored_port: 1, ..expected };
    assert_eq!(lab.statd.counters(), expected);
    lab.notify("10.0.0.2:1023", "a", 3).await;
    assert_eq!(lab.held().await, 0);
    assert_eq!(lab.statd.counters(), Counters { clients_restarted: 1, ..expected });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_to_which_no_export_is_secure_may_notify_from_any_port() {
    let lab = Lab::new();
    lab.lock("a", "192.0.2.2:700", 0).await;
    lab.notify("192.0.2.2:50000", "a", 3).await;
    assert_eq!(lab.held().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_gateway_only_the_named_client_loses_its_locks() {
    let lab = Lab::new();
    let gateway = "192.0.2.2:700";
    lab.lock("a", gateway, 0).await;
    lab.lock("b", gateway, 1).await;
    lab.notify(gateway, "c", 3).await;
    assert_eq!((lab.held().await, lab.statd.counters().ignored_unknown_name), (2, 1));
    lab.notify(gateway, "A.example.org", 3).await;
    assert_eq!(lab.held().await, 1);
    lab.lock("a", gateway, 2).await;
    // No host behind a gateway knows itself by that address: it is the one host there.
    lab.notify(gateway, "192.0.2.2", 5).await;
    assert_eq!((lab.held().await, lab.statd.counters().clients_restarted), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_hosts_are_monitored_and_no_more() {
    let lab = Lab::new();
    for n in 0..MONITORED_MAX {
        let name = format!("10.1.{}.{}", n / 256, n % 256);
        assert!(lab.mon("127.0.0.1:700", &name).await.success, "{name}");
    }
    assert_eq!(lab.mon("127.0.0.1:700", "10.2.0.0").await, StatRes { success: false, state: 1 });
    assert!(lab.mon("127.0.0.1:700", "10.1.0.0").await.success, "who is known goes on");
    assert_eq!(lab.statd.monitored(), MONITORED_MAX);
    assert!(!lab.mon("127.0.0.1:1024", "10.1.0.0").await.success);
    assert!(!lab.mon("192.0.2.2:700", "10.1.0.0").await.success);
    assert_eq!(lab.statd.counters().refused_callers, 2);
}

/// What a rpc.statd of this host says: the address that was monitored, and the key it was given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_back_counts_only_with_the_key() {
    let lab = Lab::new();
    lab.lock("a", "192.0.2.2:700", 0).await;
    let at = lab.statd.serve_callbacks().expect("a loopback interface");
    assert!(at.ip().is_loopback());
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    socket.connect(at).await.expect("connected");
    let call = async |xid, arguments: &[u8]| {
        let mut message = Writer::new();
        CallHeader {
            xid,
            program: cleat_nlm::wire::PROGRAM,
            version: CALLBACK_VERSION,
            procedure: CALLBACK_PROCEDURE,
            credential: Credential::None,
        }
        .encode(&mut message);
        message.raw(arguments);
        socket.send(&message.into_bytes()).await.expect("sent");
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).await.expect("an answer");
        let (replied, results) = decode_reply(&buffer[..length]).expect("a reply");
        assert_eq!(replied, xid);
        results.map(|reader| reader.rest().len())
    };
    let status = |private, name: &str| {
        let mut writer = Writer::new();
        writer.put(&Status { mon_name: name.as_bytes(), state: 3, private });
        writer.into_bytes()
    };
    assert_eq!(call(1, &status([0; 16], "192.0.2.2")).await, Ok(0));
    assert_eq!(call(2, &status(lab.key, "a")).await, Ok(0), "we gave an address");
    assert_eq!(call(3, &status(lab.key, "192.0.2.3")).await, Ok(0), "not a client");
    let whole = status(lab.key, "192.0.2.2");
    for end in 0..whole.len() {
        let xid = 100 + u32::try_from(end).expect("small");
        assert_eq!(call(xid, &whole[..end]).await, Err(ReplyError::NotRun(4)));
    }
    assert_eq!(lab.held().await, 1);
    let expected = Counters { ignored_key: 2, ignored_unknown_address: 1, ..Counters::default() };
    assert_eq!(lab.statd.counters(), expected);
    assert_eq!(call(4, &whole).await, Ok(0));
    assert_eq!(lab.held().await, 0);
}

/// A lock manager of this host is believed, and its bytes are read with the same care.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_arguments_of_a_lock_manager_hurt() {
    let lab = Lab::new();
    let mut chance = 1_u64;
    for round in 0..2_000_u32 {
        let bytes: Vec<u8> = (0..round % 120)
            .map(|_| {
                chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Small lengths let a reader go on.
                if chance >> 62 == 0 { (chance >> 56) as u8 } else { 0 }
            })
            .collect();
        for number in [procedure::STAT, procedure::MON, procedure::UNMON, procedure::UNMON_ALL] {
            // A name that is one would be looked up.
            if number == procedure::MON && Reader::new(&bytes).get::<Mon<'_>>().is_ok() {
                continue;
            }
            let reply = lab.try_call("127.0.0.1:700", number, &bytes).await;
            assert!(matches!(reply, Ok(_) | Err(Fault::GarbageArgs)), "{number}: {reply:?}");
        }
    }
    assert!(lab.mon("127.0.0.1:700", "10.1.0.0").await.success);
}
