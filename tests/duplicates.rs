//! Calls that are sent again run once: a true repetition gets the first answer while that is so,
//! and what only looks like one, or was long under way, does no harm.

mod harness;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

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

fn bytes(arguments: &impl Pack) -> Vec<u8> {
    let mut bytes = Vec::new();
    arguments.pack(&mut bytes).expect("written");
    bytes
}

/// Sends a call again in every way that makes it a repetition: on the same connection, from the
/// same port after the connection broke, and from another port then.
fn repeated(
    server: &Server,
    mut client: Client,
    procedure: u32,
    arguments: &impl Pack,
    check: impl Fn(Vec<u8>, &str),
) -> Client {
    check(client.repeat().nfs_bytes(procedure, arguments), "the same connection");
    for (same_port, how) in [(true, "the same port"), (false, "another port")] {
        client = client.reconnected(server.address, same_port);
        check(client.repeat().nfs_bytes(procedure, arguments), how);
    }
    client
}

/// What makes a name: the procedure, its arguments, and what it makes.
fn makers(root: &[u8], file: &[u8]) -> Vec<(u32, Vec<u8>, &'static str)> {
    let create = |name, how| bytes(&CREATE3args { where_: at(root, name), how });
    let symlink_data = b"nowhere"[..].into();
    let symlink = symlinkdata3 { symlink_attributes: sattr3::default(), symlink_data };
    let link = LINK3args { file: handle(file), link: at(root, "link") };
    let mknod = MKNOD3args { where_: at(root, "fifo"), what: mknoddata3::NF3FIFO(mode(0o600)) };
    let mkdir = MKDIR3args { where_: at(root, "dir"), attributes: mode(0o700) };
    vec![
        (CREATE, create("guarded", createhow3::GUARDED(mode(0o600))), "guarded"),
        (CREATE, create("exclusive", createhow3::EXCLUSIVE(createverf3([7; 8]))), "exclusive"),
        (LINK, bytes(&link), "link"),
        (MKNOD, bytes(&mknod), "fifo"),
        (SYMLINK, bytes(&SYMLINK3args { where_: at(root, "symlink"), symlink }), "symlink"),
        (MKDIR, bytes(&mkdir), "dir"),
    ]
}

/// Arguments that are bytes already.
struct Raw(Vec<u8>);

impl Pack for Raw {
    fn packed_size(&self) -> usize {
        self.0.len()
    }

    fn pack(&self, out: &mut impl std::io::Write) -> nfs3_types::xdr_codec::Result<usize> {
        out.write_all(&self.0)?;
        Ok(self.0.len())
    }
}

#[test]
fn what_makes_a_name_makes_it_once() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let file = client.lookup(&root, "file").expect("found");
    for (procedure, args, name) in makers(&root, &file) {
        let args = Raw(args);
        let first = client.nfs_bytes(procedure, &args);
        assert_eq!(status(&first), nfsstat3::NFS3_OK, "{name}");
        client = repeated(&server, client, procedure, &args, |again, how| {
            assert_eq!(again, first, "{name} from {how}");
        });
        // A call of its own that asks the same.
        if name != "exclusive" {
            let anew = status(&client.nfs_bytes(procedure, &args));
            assert_eq!(anew, nfsstat3::NFS3ERR_EXIST, "{name}");
        }
    }
}

/// What was made is taken away, by another client or on the server, and then the call comes again.
#[test]
fn nothing_is_said_to_be_made_that_is_not_there() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let file = client.lookup(&root, "file").expect("found");
    let mut other = Client::connect_from(&server, "b", B);
    for (procedure, args, name) in makers(&root, &file) {
        let (args, path) = (Raw(args), site.export.join(name));
        for locally in [true, false] {
            let mut undo = || match (locally, procedure) {
                (true, MKDIR) => fs::remove_dir(&path).expect("removed"),
                (true, _) => fs::remove_file(&path).expect("removed"),
                (false, _) => {
                    let remove = if procedure == MKDIR { RMDIR } else { REMOVE };
                    let args = REMOVE3args { object: at(&root, name) };
                    assert_eq!(status(&other.nfs_bytes(remove, &args)), nfsstat3::NFS3_OK);
                }
            };
            assert_eq!(status(&client.nfs_bytes(procedure, &args)), nfsstat3::NFS3_OK);
            undo();
            for broken in [false, true] {
                if broken {
                    client = client.reconnected(server.address, false);
                }
                let again = status(&client.repeat().nfs_bytes(procedure, &args));
                let there = path.symlink_metadata().is_ok();
                assert_eq!((again, there), (nfsstat3::NFS3_OK, true), "{name}, {broken}");
                undo();
            }
        }
    }
    // Another thing of the same name is not what was made.
    let mkdir = MKDIR3args { where_: at(&root, "dir"), attributes: mode(0o700) };
    assert_eq!(status(&client.nfs_bytes(MKDIR, &mkdir)), nfsstat3::NFS3_OK);
    fs::remove_dir(site.export.join("dir")).expect("removed");
    assert_eq!(status(&other.nfs_bytes(MKDIR, &mkdir)), nfsstat3::NFS3_OK);
    let again = client.repeat().nfs_bytes(MKDIR, &mkdir);
    assert_eq!(status(&again), nfsstat3::NFS3ERR_EXIST, "the other's");
    let link = LINK3args { file: handle(&file), link: at(&root, "lock") };
    assert_eq!(status(&client.nfs_bytes(LINK, &link)), nfsstat3::NFS3_OK);
    fs::remove_file(site.export.join("lock")).expect("removed");
    fs::write(site.export.join("lock"), "another").expect("written");
    let again = client.repeat().nfs_bytes(LINK, &link);
    assert_eq!(status(&again), nfsstat3::NFS3ERR_EXIST, "the other's");
}

/// What others made since is not taken away by a repetition.
#[test]
fn what_takes_a_name_away_takes_it_once() {
    let site = Site::new();
    let (server, client, root) = mounted(&site);
    let path = |name: &str| site.export.join(name);
    let write = |name: &str| fs::write(path(name), "another").expect("written");
    let mkdir = || fs::create_dir(path("dir")).expect("made");
    mkdir();
    let mut client = client;
    let remove = bytes(&REMOVE3args { object: at(&root, "file") });
    let rename = bytes(&RENAME3args { from: at(&root, "file"), to: at(&root, "moved") });
    let rmdir = bytes(&RMDIR3args { object: at(&root, "dir") });
    for (procedure, args, name) in
        [(REMOVE, remove, "file"), (RENAME, rename, "file"), (RMDIR, rmdir, "dir")]
    {
        let args = Raw(args);
        let first = client.nfs_bytes(procedure, &args);
        assert_eq!((status(&first), path(name).exists()), (nfsstat3::NFS3_OK, false));
        if procedure == RMDIR {
            mkdir()
        } else {
            write(name)
        }
        client = repeated(&server, client, procedure, &args, |again, how| {
            assert_eq!((again, path(name).exists()), (first.clone(), true), "{name} from {how}");
        });
        // A call of its own is another matter.
        assert_eq!(status(&client.nfs_bytes(procedure, &args)), nfsstat3::NFS3_OK);
        assert!(!path(name).exists());
        if name == "file" {
            write(name);
        }
    }
}

/// A client that made the name anew has had the answer: the same words are another call.
#[test]
fn what_a_client_took_away_and_made_again_it_may_take_away_again() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let path = site.export.join("file");
    let remove = REMOVE3args { object: at(&root, "file") };
    let mut again = client.again(server.address);
    assert_eq!(status(&client.nfs_bytes(REMOVE, &remove)), nfsstat3::NFS3_OK);
    client.create(&root, "file", createhow3::GUARDED(mode(0o600))).expect("made");
    for how in ["the same connection", "another"] {
        let call = if how == "another" { &mut again } else { client.repeat().repeat() };
        assert_eq!(status(&call.nfs_bytes(REMOVE, &remove)), nfsstat3::NFS3_OK, "{how}");
        assert!(!path.exists(), "{how}");
        fs::write(&path, "another").expect("written");
    }
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
    let first = client.nfs_bytes(SETATTR, &args);
    assert_eq!((status(&first), has(&path)), (nfsstat3::NFS3_OK, 0o600));
    set(0o640);
    let mut client = repeated(&server, client, SETATTR, &args, |again, how| {
        assert_eq!((again, has(&path)), (first.clone(), 0o640), "{how}");
    });
    assert_eq!(status(&client.nfs_bytes(SETATTR, &args)), nfsstat3::NFS3ERR_NOT_SYNC);
}

#[test]
fn a_call_that_comes_twice_at_once_runs_once() {
    let site = Site::new();
    let (_server, mut client, root) = mounted(&site);
    for round in 0..50 {
        let name = format!("dir{round}");
        let args = bytes(&MKDIR3args { where_: at(&root, &name), attributes: mode(0o700) });
        let [one, two] = client.nfs_twice(MKDIR, &args);
        assert_eq!((status(&one), &one), (nfsstat3::NFS3_OK, &two));
    }
}

/// A client that reads its answers repeats nothing elsewhere: the same words on a connection of its
/// own, or on another one after it went on, are another call.
#[test]
fn who_has_the_answer_does_not_repeat_the_call() {
    let site = Site::new();
    let (server, mut client, root) = mounted(&site);
    let make = |name| MKDIR3args { where_: at(&root, name), attributes: mode(0o700) };
    let mut other = client.again(server.address);
    assert_eq!(status(&client.nfs_bytes(MKDIR, &make("one"))), nfsstat3::NFS3_OK);
    let exists = nfsstat3::NFS3ERR_EXIST;
    assert_eq!(status(&other.nfs_bytes(MKDIR, &make("one"))), exists, "the first one goes on");
    assert_eq!(status(&client.nfs_bytes(MKDIR, &make("two"))), nfsstat3::NFS3_OK);
    client.getattr(&root).expect("answered");
    client = client.reconnected(server.address, false);
    assert_eq!(status(&client.repeat().repeat().nfs_bytes(MKDIR, &make("two"))), exists);
    // But Linux comes from the same port, with whatever it had under way.
    let first = client.nfs_bytes(MKDIR, &make("three"));
    client.getattr(&root).expect("answered");
    client = client.reconnected(server.address, true);
    assert_eq!(client.repeat().repeat().nfs_bytes(MKDIR, &make("three")), first);
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
    let args = RMDIR3args { object: at(&root, "other") };
    assert_eq!(status(&client.repeat().nfs_bytes(RMDIR, &args)), nfsstat3::NFS3_OK);
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
    assert_eq!(status(&client.nfs_bytes(MKDIR, &make("oldest"))), nfsstat3::NFS3_OK);
    let remove = RMDIR3args { object: at(&root, "missing") };
    for _ in 0..ANSWERS_PER_CLIENT_MAX {
        assert_eq!(status(&client.nfs_bytes(RMDIR, &remove)), nfsstat3::NFS3ERR_NOENT);
    }
    for _ in 0..=ANSWERS_PER_CLIENT_MAX {
        client.repeat();
    }
    assert_eq!(status(&client.nfs_bytes(MKDIR, &make("oldest"))), nfsstat3::NFS3ERR_EXIST);
    assert_eq!(other.repeat().nfs_bytes(MKDIR, &make("kept")), kept);
}

/// A client's lock goes, another takes it, and the LOCK comes again in every way: nobody is told
/// that he holds what another does.
#[test]
fn no_lock_is_granted_from_memory() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    for goes in ["UNLOCK", "FREE_ALL", "SM_NOTIFY", "clear", "nothing"] {
        assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "{goes}");
        // What others call is no call of this connection's client.
        let mut apart = Client::connect_from(&server, "a", A);
        match goes {
            "UNLOCK" => assert_eq!(apart.unlock(&file, 1, (0, 10)), Stat::Granted),
            "FREE_ALL" => apart.free_all(),
            "SM_NOTIFY" => apart.notify("a", 3),
            "clear" => {
                let mut clear = std::process::Command::new(env!("CARGO_BIN_EXE_cleat"));
                clear.args(["locks", "clear", "--client", "a", "--state-dir"]);
                let cleared = clear.arg(site.path().join("state")).output().expect("it runs");
                assert!(cleared.status.success(), "{cleared:?}");
            }
            _ => {}
        }
        let (other, own) = if goes == "nothing" {
            (Stat::Denied, Stat::Granted)
        } else {
            (Stat::Granted, Stat::Denied)
        };
        assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), other, "{goes}");
        assert_eq!(a.repeat().lock(&file, 1, (0, 10), EXCLUSIVE), own, "{goes}");
        for same_port in [true, false] {
            a = a.reconnected(server.address, same_port);
            assert_eq!(a.repeat().lock(&file, 1, (0, 10), EXCLUSIVE), own, "{goes}, {same_port}");
        }
        assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
    }
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "one lock, not several");
}

/// LOCK, UNLOCK, LOCK, and then the first UNLOCK's bytes, from a client that numbers anew.
#[test]
fn an_unlock_that_is_needed_again_unlocks() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    let mut other = a.again(server.address);
    let mut numbered = Client::connect_from(&server, "a", A);
    for round in 0..2 {
        numbered.number_as(&a);
        assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
        assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
        assert_eq!(a.unlock(&file, 2, (0, 10)), Stat::Granted, "another owner's changes nothing");
        assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
        let again = if round == 0 { &mut a } else { &mut other };
        again.number_as(&numbered);
        again.test(&file, 9, (0, 10), true).expect_err("it is held");
        assert_eq!(again.unlock(&file, 1, (0, 10)), Stat::Granted);
        assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "round {round}");
        assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
    }
}

/// The owner's next lock is not given up by the UNLOCK before it, whose answer was lost.
#[test]
fn a_repeated_end_of_a_lock_or_a_wait_ends_nothing_more() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(a.repeat().lock(&file, 1, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(a.cancel(&file, 1, (0, 10), true), Stat::Granted);
    assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
    // Elsewhere in the file it locks; the CANCEL is answered as it was.
    assert_eq!(a.lock(&file, 1, (20, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.repeat().repeat().cancel(&file, 1, (0, 10), true), Stat::Granted);
    a = a.reconnected(server.address, true);
    assert_eq!(a.repeat().cancel(&file, 1, (0, 10), true), Stat::Granted);
    assert_eq!(b.test(&file, 1, (0, 0), true), Err((1, 20, 10)));
}

/// Datagrams that come again at once, and those that come after what followed them.
#[test]
fn a_datagram_that_was_long_under_way_does_nothing() {
    let site = Site::new();
    let (server, mut over_tcp, root) = mounted(&site);
    let file = over_tcp.lookup(&root, "file").expect("found");
    let mut a = Client::over_udp(server.address, "a", A);
    let mut b = Client::connect_from(&server, "b", B);
    let mut first = Client::over_udp(server.address, "a", A);
    first.number_as(&a);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.repeat().lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(a.repeat().unlock(&file, 1, (0, 10)), Stat::Granted);
    a.waits(Duration::from_millis(300));
    let late = a.repeat().repeat().try_lock(&file, 1, (0, 10), EXCLUSIVE);
    assert!(late.is_err(), "{late:?}");
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "nothing was locked");
    // From another port it is no datagram that was under way.
    assert_eq!(first.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.unlock(&file, 1, (0, 10)), Stat::Granted);
}

/// What a server reads at last from a connection that its client gave up for another.
#[test]
fn a_call_on_a_connection_that_was_given_up_does_nothing() {
    let site = Site::new();
    let (server, mut old, root) = mounted(&site);
    let file = old.lookup(&root, "file").expect("found");
    let mut new = old.again(server.address);
    let mut b = Client::connect_from(&server, "b", B);
    assert_eq!(new.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(new.unlock(&file, 1, (0, 10)), Stat::Granted);
    old.waits(Duration::from_millis(300));
    let late = old.try_lock(&file, 1, (0, 10), EXCLUSIVE);
    assert!(late.is_err(), "{late:?}");
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted, "nothing was locked");
}

#[test]
fn shares_and_the_end_of_all_are_as_locks_are() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    for client in [&mut a, &mut b] {
        client.version = Version::V3;
    }
    let all = Some((Access::Both, Access::Both, false));
    // A SHARE that is repeated says what is so.
    assert_eq!(a.share(&file, "one", all), Stat::Granted);
    assert_eq!(a.repeat().share(&file, "one", all), Stat::Granted);
    a = a.reconnected(server.address, false);
    assert_eq!(a.repeat().share(&file, "one", all), Stat::Granted);
    let mut late = a.again(server.address);
    assert_eq!(late.share(&file, "one", None), Stat::Granted);
    assert_eq!(b.share(&file, "two", all), Stat::Granted);
    assert_eq!(a.repeat().share(&file, "one", all), Stat::Denied);
    assert_eq!(b.share(&file, "two", None), Stat::Granted);
    a.free_all();
    a.repeat().free_all();
    assert_eq!(a.share(&file, "one", all), Stat::Granted);
    // It is needed again.
    a.repeat().repeat().free_all();
    assert_eq!(b.share(&file, "two", all), Stat::Granted);
}

/// NM_LOCK is as LOCK is, and a result with the longest cookie as any.
#[test]
fn every_form_of_lock_says_what_is_so() {
    let site = Site::new();
    let (server, mut a, root) = mounted(&site);
    let file = a.lookup(&root, "file").expect("found");
    let mut b = Client::connect_from(&server, "b", B);
    a.cookie = vec![7; 1024];
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.repeat().repeat().lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.nm_lock(&file, 2, (20, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.repeat().nm_lock(&file, 2, (20, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 2, (20, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (20, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.repeat().repeat().nm_lock(&file, 2, (20, 10), EXCLUSIVE), Stat::Denied);
}
