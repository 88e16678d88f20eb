//! Calls that are sent again get the first answer and run once: on the same connection, on the
//! next one, and late, when what they did has been undone.

mod harness;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;

use cleat::rpc_server::ANSWERS_PER_CLIENT_MAX;
use cleat_lock::Access;
use cleat_nlm::Version;
use cleat_nlm::wire::Stat;
use harness::nfs::{at, handle, mode};
use harness::{Client, EXCLUSIVE, Server, Site, WAIT};
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Pack, Unpack};

const SETATTR: u32 = 2;
const CREATE: u32 = 8;
const MKDIR: u32 = 9;
const SYMLINK: u32 = 10;
const MKNOD: u32 = 11;
const REMOVE: u32 = 12;
const RMDIR: u32 = 13;
const RENAME: u32 = 14;
const LINK: u32 = 15;
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// A server, a client of its export, and the export's root.
fn mounted(site: &Site) -> (Server, Client, Vec<u8>) {
    let server = site.serve();
    let mut client = Client::connect_from(&server, "a", A);
    let root = client.mount(&site.export).expect("mounted");
    (server, client, root)
}

fn status(reply: &[u8]) -> nfsstat3 {
    nfsstat3::unpack(&mut &reply[..]).expect("a status").0
}

/// Calls, undoes what the call did, and sends it again both ways: it gets the first answer, and
/// what was undone stays so. A call of its own that asks the same gets `anew`.
fn runs_once(
    (server, client): (&Server, &mut Client),
    procedure: u32,
    arguments: &impl Pack,
    undo: impl Fn(),
    undone: impl Fn() -> bool,
    anew: nfsstat3,
) {
    let first = client.nfs_bytes(procedure, arguments);
    assert_eq!(status(&first), nfsstat3::NFS3_OK, "procedure {procedure}");
    assert!(!undone(), "procedure {procedure} does something");
    undo();
    assert!(undone());
    assert_eq!(client.repeat().nfs_bytes(procedure, arguments), first, "procedure {procedure}");
    *client = client.again(server.address);
    assert_eq!(client.repeat().nfs_bytes(procedure, arguments), first, "procedure {procedure}");
    assert!(undone(), "procedure {procedure} ran again");
    assert_eq!(status(&client.nfs_bytes(procedure, arguments)), anew, "procedure {procedure}");
}

#[test]
fn what_makes_a_name_makes_it_once() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let file = client.lookup(&root, "file").expect("found");
    let path = |name: &str| site.export.join(name);
    let gone = |name: &'static str| move || !path(name).exists() && !path(name).is_symlink();
    let unlink = |name: &'static str| move || fs::remove_file(path(name)).expect("removed");
    let ok = nfsstat3::NFS3_OK;
    let hows = [
        ("guarded", createhow3::GUARDED(mode(0o600))),
        ("exclusive", createhow3::EXCLUSIVE(createverf3([7; 8]))),
    ];
    for (name, how) in hows {
        let args = CREATE3args { where_: at(&root, name), how };
        runs_once((&server, &mut client), CREATE, &args, unlink(name), gone(name), ok);
    }
    let args = LINK3args { file: handle(&file), link: at(&root, "link") };
    runs_once((&server, &mut client), LINK, &args, unlink("link"), gone("link"), ok);
    let args = MKNOD3args { where_: at(&root, "fifo"), what: mknoddata3::NF3FIFO(mode(0o600)) };
    runs_once((&server, &mut client), MKNOD, &args, unlink("fifo"), gone("fifo"), ok);
    let symlink_data = b"nowhere"[..].into();
    let symlink = symlinkdata3 { symlink_attributes: sattr3::default(), symlink_data };
    let args = SYMLINK3args { where_: at(&root, "symlink"), symlink };
    runs_once((&server, &mut client), SYMLINK, &args, unlink("symlink"), gone("symlink"), ok);
    let args = MKDIR3args { where_: at(&root, "dir"), attributes: mode(0o700) };
    let rmdir = || fs::remove_dir(path("dir")).expect("removed");
    runs_once((&server, &mut client), MKDIR, &args, rmdir, gone("dir"), ok);
}

#[test]
fn what_takes_a_name_away_takes_it_once() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let path = |name: &str| site.export.join(name);
    let there = |name: &'static str| move || path(name).exists();
    let ok = nfsstat3::NFS3_OK;
    let args = REMOVE3args { object: at(&root, "file") };
    let write = || fs::write(path("file"), "another").expect("written");
    runs_once((&server, &mut client), REMOVE, &args, write, there("file"), ok);
    write();
    let args = RENAME3args { from: at(&root, "file"), to: at(&root, "moved") };
    let back = || fs::rename(path("moved"), path("file")).expect("moved back");
    runs_once((&server, &mut client), RENAME, &args, back, there("file"), ok);
    let mkdir = || fs::create_dir(path("dir")).expect("made");
    mkdir();
    let args = RMDIR3args { object: at(&root, "dir") };
    runs_once((&server, &mut client), RMDIR, &args, mkdir, there("dir"), ok);
}

#[test]
fn attributes_are_set_under_a_guard_once() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let path = site.export.join("file");
    let set = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).expect("set");
    let has = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    set(0o640);
    let file = client.lookup(&root, "file").expect("found");
    let guard = Nfs3Option::Some(client.getattr(&file).expect("found").ctime);
    let args = SETATTR3args { object: handle(&file), new_attributes: mode(0o600), guard };
    let undone = || has(&path) == 0o640;
    let not_sync = nfsstat3::NFS3ERR_NOT_SYNC;
    runs_once((&server, &mut client), SETATTR, &args, || set(0o640), undone, not_sync);
}

#[test]
fn a_call_that_comes_twice_at_once_runs_once() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let both = Barrier::new(2);
    for round in 0..50 {
        let name = format!("dir{round}");
        let args = || MKDIR3args { where_: at(&root, &name), attributes: mode(0o700) };
        let mut other = client.again(server.address);
        let (one, two) = std::thread::scope(|scope| {
            let one = scope.spawn(|| {
                both.wait();
                client.nfs_bytes(MKDIR, &args())
            });
            both.wait();
            (other.nfs_bytes(MKDIR, &args()), one.join().expect("an answer"))
        });
        assert_eq!((status(&one), &one), (nfsstat3::NFS3_OK, &two));
    }
}

#[test]
fn only_the_same_call_of_the_same_client_is_a_repetition() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let make = |name| MKDIR3args { where_: at(&root, name), attributes: mode(0o700) };
    let first = client.nfs_bytes(MKDIR, &make("dir"));
    assert_eq!(status(&first), nfsstat3::NFS3_OK);
    // The same number, and something else: other arguments, another procedure, another user.
    let other = client.repeat().nfs_bytes(MKDIR, &make("other"));
    assert_eq!((status(&other), site.export.join("other").is_dir()), (nfsstat3::NFS3_OK, true));
    let args = RMDIR3args { object: at(&root, "dir") };
    assert_eq!(status(&client.repeat().nfs_bytes(RMDIR, &args)), nfsstat3::NFS3_OK);
    fs::create_dir(site.export.join("dir")).expect("made");
    assert_eq!(client.repeat().nfs_bytes(MKDIR, &make("dir")), first);
    client.as_user(1, 1);
    assert_ne!(client.repeat().nfs_bytes(MKDIR, &make("dir")), first);
    client.as_user(0, 0);
    // Another host with the same numbers.
    let mut stranger = Client::connect_from(&server, "a", B);
    stranger.number_as(&client);
    let exists = nfsstat3::NFS3ERR_EXIST;
    assert_eq!(status(&stranger.repeat().nfs_bytes(MKDIR, &make("dir"))), exists);
    assert_eq!(client.repeat().nfs_bytes(MKDIR, &make("dir")), first);
}

/// Each client has its own room in the cache, and the oldest answer makes way for the newest.
#[test]
fn the_answers_that_are_kept_are_bounded_for_each_client() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let make = |name| MKDIR3args { where_: at(&root, name), attributes: mode(0o700) };
    let mut other = Client::connect_from(&server, "b", B);
    let kept = other.nfs_bytes(MKDIR, &make("kept"));
    let mut oldest = client.again(server.address);
    assert_eq!(status(&client.nfs_bytes(MKDIR, &make("oldest"))), nfsstat3::NFS3_OK);
    let remove = RMDIR3args { object: at(&root, "missing") };
    for _ in 0..ANSWERS_PER_CLIENT_MAX {
        assert_eq!(status(&client.nfs_bytes(RMDIR, &remove)), nfsstat3::NFS3ERR_NOENT);
    }
    assert_eq!(status(&oldest.nfs_bytes(MKDIR, &make("oldest"))), nfsstat3::NFS3ERR_EXIST);
    assert_eq!(other.repeat().nfs_bytes(MKDIR, &make("kept")), kept);
}

#[test]
fn a_lock_request_that_is_late_gets_its_first_answer_and_locks_nothing() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    let mut late = a.again(server.address);
    assert_eq!(late.repeat().repeat().lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(late.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(a.test(&file, 1, (0, 0), true), Err((1, 0, 10)), "b's");
    // The same of a wait and its end.
    assert_eq!(a.lock(&file, 1, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(a.cancel(&file, 1, (0, 10), true), Stat::Granted);
    a.repeat().repeat();
    assert_eq!(a.lock(&file, 1, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "nobody waited");
}

/// What each procedure of NLM that changes something answers to the same call sent again, after
/// what it did was undone: the first answer, and nothing is done again.
#[test]
fn every_lock_procedure_that_is_repeated_late_gets_its_first_answer() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    let mut late = a.again(server.address);
    // CANCEL of a wait: anew, there is none to cancel once the lock is held.
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 10), WAIT), Stat::Blocked);
    late.number_as(&a);
    assert_eq!(a.cancel(&file, 1, (0, 10), true), Stat::Granted);
    assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(late.cancel(&file, 1, (0, 10), true), Stat::Granted);
    assert_eq!(late.cancel(&file, 1, (0, 10), true), Stat::Denied, "it is held");
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    // NM_LOCK that was given up, and another's since.
    late.number_as(&a);
    assert_eq!(a.nm_lock(&file, 2, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 2, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(late.nm_lock(&file, 2, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(late.nm_lock(&file, 2, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
}

#[test]
fn shares_and_the_end_of_them_that_are_repeated_late_change_nothing() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    for client in [&mut a, &mut b] {
        client.version = Version::V3;
    }
    let mut late = a.again(server.address);
    let all = Some((Access::Both, Access::Both, false));
    // SHARE and UNSHARE: each is undone, and then comes again.
    late.number_as(&a);
    assert_eq!(a.share(&file, "one", all), Stat::Granted);
    assert_eq!(a.share(&file, "one", None), Stat::Granted);
    assert_eq!(b.share(&file, "two", all), Stat::Granted);
    assert_eq!(late.share(&file, "one", all), Stat::Granted, "its first answer");
    assert_eq!(late.share(&file, "one", None), Stat::Granted);
    assert_eq!(b.share(&file, "two", None), Stat::Granted);
    late.number_as(&a);
    assert_eq!(a.share(&file, "one", None), Stat::Granted);
    assert_eq!(a.share(&file, "one", all), Stat::Granted);
    assert_eq!(late.share(&file, "one", None), Stat::Granted);
    assert_eq!(b.share(&file, "two", all), Stat::Denied, "the first one's stands");
    // FREE_ALL, and what was taken since.
    late.number_as(&a);
    a.free_all();
    assert_eq!(a.share(&file, "one", all), Stat::Granted);
    late.free_all();
    assert_eq!(b.share(&file, "two", all), Stat::Denied, "it stands");
    late.free_all();
    assert_eq!(b.share(&file, "two", all), Stat::Granted);
}

/// A result with the longest cookie is kept like any other.
#[test]
fn a_lock_with_the_longest_cookie_runs_once() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    a.cookie = vec![7; 1024];
    let mut late = a.again(server.address);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(late.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "nothing was locked again");
}
