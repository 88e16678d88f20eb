//! Locks through the whole server: one process for each test, clients on loopback.

mod harness;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, RECLAIM, SHARED, Site, WAIT, until};

const SOON: Duration = Duration::from_secs(5);
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

#[test]
fn a_lock_excludes_other_owners_and_test_names_its_holder() {
    let site = Site::new();
    let server = site.serve();
    let (mut a, mut b) =
        (Client::connect_from(&server, "a", A), Client::connect_from(&server, "b", B));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 7, (100, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 7, (105, 1), SHARED), Stat::Denied);
    assert_eq!(b.test(&file, 7, (0, 0), false), Err((7, 100, 10)));
    assert_eq!(b.lock(&file, 7, (110, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 7, (104, 2)), Stat::Granted);
    assert_eq!(b.lock(&file, 7, (104, 2), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 7, (103, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.lock(&file, 7, (106, 1), EXCLUSIVE), Stat::Denied);
}

#[test]
fn hard_links_and_two_exports_of_one_tree_are_one_file() {
    let site = Site::new();
    let inner = site.export.join("inner");
    std::fs::create_dir(&inner).expect("made");
    std::fs::hard_link(site.export.join("file"), inner.join("link")).expect("linked");
    let also = format!("{}:rw,no_root_squash", inner.display());
    let server = site.serve_with(&["--export", &also]);
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    let inner = a.mount(&inner).expect("mounted");
    let link = a.lookup(&inner, "link").expect("found");
    assert_ne!(file, link);
    assert_eq!(a.lock(&file, 1, (0, 0), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&link, 2, (0, 0), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.unlock(&link, 1, (0, 0)), Stat::Granted);
    assert_eq!(a.lock(&link, 2, (0, 0), EXCLUSIVE), Stat::Granted);
}

#[test]
fn what_may_not_be_locked_is_refused_with_its_reason() {
    let site = Site::new();
    let read_only = format!("{}:ro", site.export.display());
    let server = harness::Server::start(site.path(), &["--export", &read_only]);
    let mut a = Client::connect(&server, "a");
    let root = a.mount(&site.export).expect("mounted");
    let file = a.lookup(&root, "file").expect("found");
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::ReadOnly);
    assert_eq!(a.lock(&file, 1, (0, 1), SHARED), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (i64::MAX as u64, 2), SHARED), Stat::TooBig);
    assert_eq!(a.lock(&root, 1, (0, 1), SHARED), Stat::Failed);
    let mut forged = file.clone();
    *forged.last_mut().expect("bytes") ^= 1;
    assert_eq!(a.lock(&forged, 1, (0, 1), SHARED), Stat::StaleHandle);
}

#[test]
fn a_file_that_nobody_may_read_cannot_be_locked_by_them() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let private = site.export.join("file");
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).expect("set");
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    a.as_user(12345, 12345);
    let expected = if rustix::process::geteuid().is_root() { Stat::Failed } else { Stat::Granted };
    assert_eq!(a.lock(&file, 1, (0, 1), SHARED), expected);
}

#[test]
fn a_removed_file_can_still_be_unlocked() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 0), EXCLUSIVE), Stat::Granted);
    std::fs::remove_file(site.export.join("file")).expect("removed");
    assert_eq!(a.lock(&file, 2, (0, 0), EXCLUSIVE), Stat::StaleHandle);
    assert_eq!(a.unlock(&file, 1, (0, 0)), Stat::Granted);
    server.kill();
    // Nothing is on record, so no window opens.
    let site_server = site.serve();
    std::fs::write(site.export.join("file"), "").expect("made");
    let mut a = Client::connect(&site_server, "a");
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 0), EXCLUSIVE), Stat::Granted);
}

#[test]
fn killed_with_locks_held_it_admits_only_their_holders_and_then_everybody_at_once() {
    let site = Site::new();
    let server = site.serve_with(&["--grace-s", "90"]);
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 2, (10, 10), EXCLUSIVE), Stat::Granted);
    server.kill();

    let server = site.serve_with(&["--grace-s", "90"]);
    let (mut a, mut b) =
        (Client::connect_from(&server, "a", A), Client::connect_from(&server, "b", B));
    assert_eq!(b.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::DeniedGracePeriod);
    assert_eq!(b.lock(&file, 1, (50, 1), EXCLUSIVE), Stat::DeniedGracePeriod);
    assert_eq!(b.lock(&file, 1, (0, 1), RECLAIM), Stat::Denied);
    assert_eq!(a.lock(&file, 1, (0, 10), RECLAIM), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (50, 1), EXCLUSIVE), Stat::DeniedGracePeriod);
    assert_eq!(a.unlock(&file, 2, (10, 10)), Stat::Granted);
    // The last lock on record is settled: the window is closed.
    assert_eq!(b.lock(&file, 1, (50, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.lock(&file, 1, (10, 10), EXCLUSIVE), Stat::Granted);
    let log = server.log();
    assert!(log.contains("grace opened") && log.contains("grace closed"), "{log}");
}

#[test]
fn locks_that_nobody_reclaims_are_dropped_when_the_window_closes() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    server.kill();
    let server = site.serve_with(&["--grace-s", "1"]);
    let mut b = Client::connect_from(&server, "b", B);
    assert_eq!(b.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::DeniedGracePeriod);
    until(SOON, Stat::Granted, || b.lock(&file, 1, (0, 1), EXCLUSIVE));
}

#[test]
fn nothing_held_means_no_window() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 0)), Stat::Granted);
    server.kill();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_client_that_restarted_loses_what_it_held_and_nobody_else_does() {
    let site = Site::new();
    let server = site.serve();
    let (mut a, mut b) =
        (Client::connect_from(&server, "a", A), Client::connect_from(&server, "b", B));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (10, 10), EXCLUSIVE), Stat::Granted);
    // From another address, the name alone proves nothing.
    b.notify("a", 3);
    assert_eq!(b.test(&file, 9, (0, 10), true), Err((1, 0, 10)));
    // That was b's own restart, though.
    assert_eq!(a.lock(&file, 2, (10, 10), EXCLUSIVE), Stat::Granted);
    a.notify("a", 3);
    assert_eq!(b.lock(&file, 2, (0, 20), EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_waiter_keeps_its_place_and_a_cancelled_one_leaves_nothing_behind() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 2, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(a.lock(&file, 2, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(a.lock(&file, 3, (0, 10), WAIT), Stat::Blocked);
    assert_eq!(a.cancel(&file, 2, (0, 10), true), Stat::Granted);
    assert_eq!(a.cancel(&file, 2, (0, 10), true), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    // 3 was next, and its re-sent request meets its lock.
    assert_eq!(a.lock(&file, 3, (0, 10), WAIT), Stat::Granted);
    assert_eq!(a.cancel(&file, 3, (0, 10), true), Stat::Denied);
    assert_eq!(a.lock(&file, 2, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.unlock(&file, 3, (0, 10)), Stat::Granted);
    assert_eq!(a.lock(&file, 2, (0, 10), EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_clean_stop_exits_with_0_and_keeps_the_table() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(server.terminate().code(), Some(0));
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    assert_eq!(a.lock(&file, 2, (50, 1), EXCLUSIVE), Stat::DeniedGracePeriod);
    assert_eq!(a.lock(&file, 1, (0, 10), RECLAIM), Stat::Granted);
    assert_eq!(a.lock(&file, 2, (50, 1), EXCLUSIVE), Stat::Granted);
}
