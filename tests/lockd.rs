//! The lock service in a process with its test: what no client can bring about, or not soon.

use std::sync::Arc;
use std::time::Duration;

use cleat::lockd::{Event, Lockd, Settings, Thread, forget_idle};
use cleat::store::Store;
use cleat_lock::store::MemoryStore;
use cleat_lock::{
    Config, FileId, Input, LockRequest, Mode, Outcome, Owner, Query, Range, Store as _, Wait,
};
use cleat_nlm::{Origin, Transport};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

struct Lab {
    lockd: Lockd,
    failed: CancellationToken,
    thread: Option<Thread>,
    events: mpsc::UnboundedReceiver<Event>,
    _directory: Option<TempDir>,
}

impl Drop for Lab {
    /// A thread that still uses RocksDB while the process ends would meet a library that is gone.
    fn drop(&mut self) {
        self.lockd.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Lab {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let (store, records) = Store::open(directory.path()).expect("a store");
        Self::with(Arc::new(store), records, Some(directory))
    }

    fn with(
        store: cleat::lockd::SharedStore,
        records: Vec<cleat_lock::Record>,
        directory: Option<TempDir>,
    ) -> Self {
        let settings =
            Settings { power: false, grace_ms: 1000, exact: true, core: Config::default() };
        let (told, events) = mpsc::unbounded_channel();
        let failed = CancellationToken::new();
        let started = Lockd::start(store, records, settings, told, failed.clone());
        let (lockd, thread) = started.expect("a thread");
        Self { lockd, failed, thread: Some(thread), events, _directory: directory }
    }

    /// A client by its name, at 10.0.0.2 unless that says where: `name@10.0.0.3`.
    fn owner(name: &str) -> (Origin, Owner) {
        let (name, client) = name.split_once('@').unwrap_or((name, "10.0.0.2"));
        let client = client.parse().expect("an address");
        let origin = Origin::new(name.as_bytes(), client, [10, 0, 0, 1].into(), Transport::Tcp);
        let owner = Owner {
            owner_id: origin.owner_id(1).into(),
            client_id: origin.client_id().into(),
            share_name: "/srv".into(),
            note: Arc::default(),
        };
        (origin, owner)
    }

    async fn lock(&self, name: &str) -> Option<Outcome> {
        self.lock_file(name, name, None).await
    }

    async fn lock_file(&self, name: &str, file: &str, wait: Option<Wait>) -> Option<Outcome> {
        let (origin, owner) = Self::owner(name);
        let (token, id) = self.lockd.ticket();
        let locking = self.lockd.contacts().begin(&origin);
        let request = LockRequest {
            token,
            id,
            owner,
            file: FileId::new(file.as_bytes()),
            range: Range::ALL,
            mode: Mode::Exclusive,
            wait,
            reclaim: false,
            incarnation: 1,
            contact: locking.put(|contact, _| contact),
        };
        self.lockd.ask(Input::Lock(request)).await
    }

    async fn unlock(&self, name: &str) -> Option<Outcome> {
        let (_, owner) = Self::owner(name);
        let (token, id) = self.lockd.ticket();
        let file = FileId::new(name.as_bytes());
        self.lockd.ask(Input::Unlock { token, id, owner, file, range: Range::ALL }).await
    }
}

#[tokio::test]
async fn a_lock_service_that_ends_by_a_panic_ends_the_server() {
    let lab = Lab::new();
    assert_eq!(lab.lockd.look(|_| panic!("for the test")).await, None::<()>);
    let ended = tokio::time::timeout(Duration::from_secs(5), lab.failed.cancelled());
    ended.await.expect("the server is told");
    assert_eq!(lab.lock("a").await, None);
}

/// The names on record, sorted, once there are so many.
async fn names_once(lab: &Lab, count: usize) -> Vec<Vec<u8>> {
    let names = || -> Vec<Vec<u8>> {
        lab.lockd.contacts().all().into_iter().map(|contact| contact.caller_name).collect()
    };
    let wait = async {
        while names().len() != count {
            tokio::time::sleep(EVERY).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), wait).await;
    let mut names = names();
    names.sort();
    names
}

const EVERY: Duration = Duration::from_millis(5);

#[tokio::test]
async fn clients_that_hold_nothing_are_forgotten_after_a_while() {
    let lab = Lab::new();
    for name in ["holder@10.0.0.3", "idle"] {
        assert_eq!(lab.lock(name).await, Some(Outcome::Granted));
    }
    assert_eq!(lab.unlock("idle").await, Some(Outcome::Done));
    let stop = CancellationToken::new();
    let forget = |idle| forget_idle(lab.lockd.clone(), EVERY, idle, stop.clone());
    let _ = tokio::time::timeout(20 * EVERY, forget(Duration::from_secs(60))).await;
    assert_eq!(lab.lockd.contacts().all().len(), 2);
    let names = tokio::select! {
        () = forget(EVERY) => unreachable!("it goes on"),
        names = names_once(&lab, 1) => names,
    };
    assert_eq!(names, [b"holder"]);
    assert_eq!(lab.lock("idle").await, Some(Outcome::Granted));
    assert_eq!(lab.lockd.contacts().all().len(), 2);
}

#[tokio::test]
async fn an_idle_host_behind_a_gateway_is_known_as_long_as_another_there_holds_something() {
    let lab = Lab::new();
    for name in ["holder", "idle", "elsewhere@10.0.0.3"] {
        assert_eq!(lab.lock(name).await, Some(Outcome::Granted));
    }
    for name in ["idle", "elsewhere@10.0.0.3"] {
        assert_eq!(lab.unlock(name).await, Some(Outcome::Done));
    }
    let stop = CancellationToken::new();
    let forget = || forget_idle(lab.lockd.clone(), EVERY, EVERY, stop.clone());
    let names = tokio::select! {
        () = forget() => unreachable!("it goes on"),
        names = names_once(&lab, 2) => names,
    };
    assert_eq!(names, [&b"holder"[..], b"idle"]);
    // It restarts, and the other one lives.
    let restarted =
        |name: &str| lab.lockd.contacts().restarted([10, 0, 0, 2].into(), Some(name.as_bytes()));
    assert_eq!(restarted("idle"), Ok(vec!["nlm:idle@10.0.0.2".to_owned()]));
    // Once all there hold nothing they go together.
    assert_eq!(lab.unlock("holder").await, Some(Outcome::Done));
    let names = tokio::select! {
        () = forget() => unreachable!("it goes on"),
        names = names_once(&lab, 0) => names,
    };
    assert_eq!(names, Vec::<Vec<u8>>::new());
}

fn waiting() -> Option<Wait> {
    let context = Arc::default();
    Some(Wait { context, silence_ms: 0, timeout_ms: Some(0), find_deadlock: true })
}

#[tokio::test]
async fn what_the_store_does_not_take_is_neither_answered_nor_granted() {
    let store = Arc::new(MemoryStore::new());
    let shared: cleat::lockd::SharedStore = store.clone();
    let mut lab = Lab::with(shared, Vec::new(), None);
    assert_eq!(lab.lock("a").await, Some(Outcome::Granted));
    assert_eq!(lab.lock_file("b", "a", waiting()).await, Some(Outcome::Blocked));
    let before = store.image();
    store.freeze_after(0);
    let (unlocked, seen) = (lab.unlock("a"), lab.lockd.look(|core| core.counters().locks));
    let (unlocked, seen) = tokio::join!(unlocked, seen);
    assert_eq!((unlocked, seen), (None, None), "nothing is said of what is not on record");
    let ended = tokio::time::timeout(Duration::from_secs(5), lab.failed.cancelled());
    ended.await.expect("the server is told");
    assert!(lab.events.recv().await.is_none(), "b is granted nothing, and the service is gone");
    assert_eq!(lab.lock("c").await, None);
    assert!(store.image_is(&before));
}

#[tokio::test]
async fn a_look_shows_only_what_is_on_record() {
    let store = Arc::new(MemoryStore::new());
    let shared: cleat::lockd::SharedStore = store.clone();
    let lab = Lab::with(shared, Vec::new(), None);
    // While the service is held up, so that what follows is one batch.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held_up = lab.lockd.look(move |_| {
        let _ = held.recv();
    });
    let on_record = move |core: &cleat_lock::Core| {
        let records = store.list(&Query::All).expect("listed");
        core.records().all(|record| records.contains(&record))
    };
    let (locked, look) = (lab.lock("a"), lab.lockd.look(on_record));
    let release = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(hold);
    };
    let (_, locked, seen, ()) = tokio::join!(held_up, locked, look, release);
    assert_eq!((locked, seen), (Some(Outcome::Granted), Some(true)));
}
