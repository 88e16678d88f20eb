//! Ends of the server: killed amid requests, stopped amid requests, without room for its records.

mod harness;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cleat::store::Store;
use cleat_lock::Record;
use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, RECLAIM, Server, Site, is_root};

const KILLS: u32 = 20;
/// The bytes that each client of a stream locks.
const BYTES: u32 = 8;
const CLIENTS: [&str; 2] = ["a", "b"];

fn address(client: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2 + u8::try_from(client).expect("few")))
}

/// The locks on record, as (client's name, first byte).
fn on_record(state: PathBuf) -> BTreeSet<(String, u64)> {
    let (_, records) = Store::open(&state).expect("a store");
    let lock = |record: &Record| match record {
        Record::Lock(lock) => Some((lock.owner.client_id.to_string(), lock.range.first())),
        _ => None,
    };
    records.iter().filter_map(lock).collect()
}

/// What one client was told, and the request whose answer it did not get.
#[derive(Default)]
struct Told {
    held: BTreeSet<u64>,
    open: Option<u64>,
}

/// Locks and unlocks bytes of its own until the server is gone. `held` is reclaimed first.
fn stream(client: &mut Client, file: &[u8], first: u64, held: BTreeSet<u64>) -> Told {
    let mut told = Told { held, open: None };
    for byte in told.held.clone() {
        match client.try_lock(file, 1, (byte, 1), RECLAIM) {
            Ok(stat) => assert_eq!(stat, Stat::Granted),
            Err(_) => return told,
        }
    }
    for turn in 0.. {
        // Every other byte, so that no two locks merge.
        let byte = first + 2 * (turn * 5 % u64::from(BYTES));
        let held = told.held.contains(&byte);
        told.open = Some(byte);
        let answer = if held {
            client.try_unlock(file, 1, (byte, 1))
        } else {
            client.try_lock(file, 1, (byte, 1), EXCLUSIVE)
        };
        match answer {
            Ok(Stat::Granted) if held => drop(told.held.remove(&byte)),
            Ok(Stat::Granted) => drop(told.held.insert(byte)),
            // The other client has not reclaimed everything yet.
            Ok(Stat::DeniedGracePeriod) => {}
            Ok(other) => panic!("{other:?}"),
            Err(_) => return told,
        }
    }
    told
}

#[test]
fn what_was_acknowledged_is_on_record_whenever_the_server_is_killed() {
    let site = Site::new();
    let mut held = [BTreeSet::new(), BTreeSet::new()];
    for kill in 0..KILLS {
        let server = site.serve();
        let told: Vec<Told> = std::thread::scope(|scope| {
            let streams: Vec<_> = held
                .iter()
                .enumerate()
                .map(|(index, held)| {
                    let (site, held) = (&site, held.clone());
                    let mut client = Client::connect_from(&server, CLIENTS[index], address(index));
                    // The server lives until each has what it needs to begin.
                    let file = client.file(site);
                    scope.spawn(move || stream(&mut client, &file, 100 * index as u64, held))
                })
                .collect();
            std::thread::sleep(Duration::from_millis(60 + u64::from(kill * 7 % 40)));
            server.kill();
            streams.into_iter().map(|each| each.join().expect("a stream")).collect()
        });
        let recorded = on_record(site.path().join("state"));
        for (index, told) in told.into_iter().enumerate() {
            let name = format!("nlm:{}@{}", CLIENTS[index], address(index));
            let own = recorded.iter().filter(|(client, _)| *client == name).map(|(_, at)| *at);
            let own: BTreeSet<u64> = own.collect();
            let without_open = |set: &BTreeSet<u64>| -> BTreeSet<u64> {
                set.iter().copied().filter(|byte| Some(*byte) != told.open).collect()
            };
            assert_eq!(without_open(&own), without_open(&told.held), "kill {kill}");
            held[index] = own;
        }
    }
    assert!(held.iter().any(|each| !each.is_empty()), "something was held at the end");
}

#[test]
fn a_stop_amid_requests_answers_what_it_took_and_keeps_all_of_it() {
    let site = Site::new();
    let server = site.serve();
    let mut client = Client::connect_from(&server, CLIENTS[0], address(0));
    let file = client.file(&site);
    let (told, status) = std::thread::scope(|scope| {
        let streaming = scope.spawn(|| stream(&mut client, &file, 0, BTreeSet::new()));
        std::thread::sleep(Duration::from_millis(100));
        let status = server.terminate();
        (streaming.join().expect("a stream"), status)
    });
    assert_eq!(status.code(), Some(0));
    let own = on_record(site.path().join("state"));
    let own: BTreeSet<u64> = own.into_iter().map(|(_, byte)| byte).collect();
    // A request on its way that was not taken any more has changed nothing.
    assert_eq!(own, told.held);
}

/// A file system with little room, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: PathBuf) -> Self {
        std::fs::create_dir(&at).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&at)
            .status()
            .expect("mount");
        assert!(mounted.success());
        Self(at)
    }

    /// Leaves no room at all, and says what to remove to have it again.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file");
        let chunk = [1; 4096];
        while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn without_room_for_a_record_nothing_is_granted_and_the_server_ends() {
    if !is_root("a small file system") {
        return;
    }
    let site = Site::new();
    let disk = SmallDisk::new(site.path().join("state"));
    let mut server: Server = site.serve();
    let mut client = Client::connect_from(&server, "a", address(0));
    let file = client.file(&site);
    assert_eq!(client.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    let filler = disk.fill();
    let mut granted = BTreeSet::from([0]);
    for byte in 1.. {
        match client.try_lock(&file, 1, (2 * byte, 1), EXCLUSIVE) {
            Ok(Stat::Granted) => drop(granted.insert(2 * byte)),
            Ok(Stat::DeniedNolocks) => break,
            other => panic!("{other:?} at {byte}"),
        }
    }
    // It ends by itself: memory is ahead of the disk.
    assert_eq!(server.ended().code(), Some(1));
    let log = server.log();
    assert!(log.contains("lock records cannot be written"), "{log}");
    assert!(log.lines().any(|line| line.starts_with("cleat: ")), "{log}");
    std::fs::remove_file(filler).expect("room");
    let recorded: BTreeSet<u64> =
        on_record(site.path().join("state")).into_iter().map(|(_, byte)| byte).collect();
    assert_eq!(recorded, granted);
    // And starts again where there is room.
    let server = site.serve();
    let mut client = Client::connect_from(&server, "a", address(0));
    for byte in granted {
        assert_eq!(client.lock(&file, 1, (byte, 1), RECLAIM), Stat::Granted);
    }
    assert_eq!(client.lock(&file, 1, (1_000_001, 1), EXCLUSIVE), Stat::Granted);
}

#[test]
fn an_unlock_that_finds_no_room_is_to_be_asked_again() {
    if !is_root("a small file system") {
        return;
    }
    let site = Site::new();
    let disk = SmallDisk::new(site.path().join("state"));
    let mut server: Server = site.serve();
    let mut client = Client::connect_from(&server, "a", address(0));
    let file = client.file(&site);
    for byte in 0..500 {
        assert_eq!(client.lock(&file, 1, (2 * byte, 1), EXCLUSIVE), Stat::Granted);
    }
    disk.fill();
    let unlock = |byte: u64| client.unlock(&file, 1, (2 * byte, 1));
    let refused = (0..500).map(unlock).find(|stat| *stat != Stat::Granted);
    assert_eq!(refused, Some(Stat::DeniedGracePeriod));
    assert_eq!(server.ended().code(), Some(1));
}

#[test]
fn a_server_may_open_as_many_files_as_the_system_permits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let site = Site::new();
    let few = Rlimit { current: Some(256), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, few).expect("set");
    let server = site.serve();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    assert_eq!(words[3], words[4], "soft and hard");
}
