//! Locks through the whole server: one process for each test, clients on loopback.

mod harness;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, RECLAIM, SHARED, Server, Site, WAIT, is_root, until};

const SOON: Duration = Duration::from_secs(20);
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
    let server = Server::start(site.path(), &["--export", &read_only]);
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
    let expected = if is_root("a user of its own") { Stat::Failed } else { Stat::Granted };
    assert_eq!(a.lock(&file, 1, (0, 1), SHARED), expected);
}

/// A handle is no ticket: each lock request is judged by the rules, as the mount was.
#[test]
fn a_handle_helps_nobody_whom_the_rules_keep_out() {
    let site = Site::new();
    let config = site.path().join("c.toml");
    let rules = r#""127.0.0.2" = "rw", "127.0.0.3" = "ro", "127.0.0.4" = "rw,secure""#;
    let path = site.export.display();
    std::fs::write(&config, format!("[[export]]\npath = \"{path}\"\nclients = {{ {rules} }}\n"))
        .expect("written");
    let server = Server::start(site.path(), &["--config", config.to_str().expect("text")]);
    let from = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    let mut reader = Client::connect_from(&server, "b", B);
    assert_eq!(reader.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::ReadOnly);
    assert_eq!(reader.lock(&file, 1, (1, 1), SHARED), Stat::Granted);
    let mut strangers = vec![
        Client::connect_from(&server, "a", from(5)),
        Client::over_udp(server.address, "a", from(5)),
        Client::connect_from(&server, "c", from(4)),
    ];
    for stranger in &mut strangers {
        assert_eq!(stranger.mount(&site.export), Err(13), "MNT3ERR_ACCES");
        assert_eq!(stranger.lock(&file, 1, (5, 1), SHARED), Stat::Failed);
        assert_eq!(stranger.test(&file, 1, (0, 1), true), Ok(Stat::Failed));
        assert_eq!(stranger.cancel(&file, 1, (0, 1), true), Stat::Failed);
        assert_eq!(stranger.unlock(&file, 1, (0, 1)), Stat::Failed);
    }
    assert_eq!(a.test(&file, 2, (0, 1), true), Err((1, 0, 1)));
    if is_root("a port below 1024") {
        let mut secure = Client::connect_at(server.address, "c", (from(4), 897).into());
        assert_eq!(secure.lock(&file, 1, (5, 1), SHARED), Stat::Granted);
    }
}

#[test]
fn what_old_clients_ask_over_udp_is_answered_from_the_address_they_ask() {
    let site = Site::new();
    let server = site.serve();
    for (last, state) in [(1, 3), (20, 7)] {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let address = (address, server.address.port()).into();
        let mut a = Client::over_udp(address, "a", A);
        let root = a.mount(&site.export).expect("mounted");
        // NFS itself is TCP's.
        let mut tcp = Client::connect_from(&server, "a", A);
        let file = tcp.lookup(&root, "file").expect("found");
        assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
        // A datagram that was answered and comes again gets the same answer.
        assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
        assert_eq!(tcp.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Denied, "another transport");
        a.notify("a", state);
        assert_eq!(tcp.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
        tcp.notify("a", state + 2);
    }
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
fn a_new_lock_right_after_a_start_waits_for_the_window_and_is_not_overtaken_meanwhile() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    server.kill();

    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let [mut b, mut killed, mut taker] = [(); 3].map(|()| Client::connect_from(&server, "b", B));
    std::thread::scope(|scope| {
        let file = &file;
        let free = scope.spawn(|| b.lock(file, 1, (50, 1), EXCLUSIVE));
        let asked = scope.spawn(|| killed.lock(file, 2, (60, 1), EXCLUSIVE));
        std::thread::sleep(Duration::from_millis(300));
        let taken_back = scope.spawn(|| taker.unlock(file, 2, (60, 1)));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!free.is_finished() && !asked.is_finished() && !taken_back.is_finished());
        assert_eq!(a.lock(file, 1, (0, 10), RECLAIM), Stat::Granted);
        let answers = [free, asked, taken_back].map(|call| call.join().expect("an answer"));
        assert_eq!(answers, [Stat::Granted; 3]);
    });
    // What was taken back is held by nobody.
    assert_eq!(a.lock(&file, 1, (60, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (50, 1), EXCLUSIVE), Stat::Denied);
}

#[test]
fn without_a_hold_locks_that_nobody_reclaims_are_dropped_when_the_window_closes() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    server.kill();
    let server = site.serve_with(&["--grace-s", "1", "--unreachable-hold-s", "0"]);
    let mut b = Client::connect_from(&server, "b", B);
    // It waits for the end of the window's second.
    until(SOON, Stat::Granted, || b.lock(&file, 1, (0, 1), EXCLUSIVE));
    assert!(server.log().contains("locks nobody reclaimed are dropped"), "{}", server.log());
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

/// Any user but the file's owner.
const STRANGER: u32 = 12_345;

fn private(site: &Site) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(site.export.join("file"), mode).expect("set");
}

#[test]
fn giving_up_needs_no_right_to_the_file() {
    if !is_root("a user of its own") {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let (mut a, mut b) =
        (Client::connect_from(&server, "a", A), Client::connect_from(&server, "b", B));
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (5, 1), WAIT), Stat::Blocked);
    private(&site);
    for client in [&mut a, &mut b] {
        client.as_user(STRANGER, STRANGER);
    }
    assert_eq!(b.cancel(&file, 1, (5, 1), true), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Failed);
    let mut root = Client::connect_from(&server, "c", B);
    assert_eq!(root.lock(&file, 1, (0, 0), EXCLUSIVE), Stat::Granted);
}

#[test]
fn an_unlock_that_reaches_beyond_all_files_releases_to_the_end() {
    let site = Site::new();
    let server = site.serve();
    let (mut a, mut b) =
        (Client::connect_from(&server, "a", A), Client::connect_from(&server, "b", B));
    let file = a.file(&site);
    for (svid, length) in [(1, u64::MAX), (2, u64::MAX - 3), (3, 1 << 63)] {
        assert_eq!(a.lock(&file, svid, (3, 0), EXCLUSIVE), Stat::Granted);
        assert_eq!(a.lock(&file, svid, (3, length), EXCLUSIVE), Stat::TooBig);
        assert_eq!(a.unlock(&file, svid, (3, length)), Stat::Granted);
        assert_eq!(b.test(&file, 1, (0, 0), true), Ok(Stat::Granted));
    }
}

#[test]
fn what_is_on_record_is_reclaimed_without_a_right_and_nothing_else_is() {
    if !is_root("a user of its own") {
        return;
    }
    for recovery in ["strict", "instant"] {
        let site = Site::new();
        let server = site.serve_with(&["--recovery", recovery]);
        let mut a = Client::connect_from(&server, "a", A);
        let file = a.file(&site);
        assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
        server.kill();
        private(&site);
        let server = site.serve_with(&["--recovery", recovery]);
        let mut a = Client::connect_from(&server, "a", A);
        a.as_user(STRANGER, STRANGER);
        for (svid, range) in [(1, (0, 11)), (1, (20, 1)), (2, (0, 10))] {
            assert_eq!(a.lock(&file, svid, range, RECLAIM), Stat::Failed, "{range:?}");
        }
        assert_eq!(a.lock(&file, 1, (0, 10), RECLAIM), Stat::Granted);
        let mut b = Client::connect_from(&server, "b", B);
        until(SOON, Err((1, 0, 10)), || b.test(&file, 1, (0, 0), true));
    }
}

#[test]
fn with_insecure_locks_a_lock_needs_no_right_to_the_file() {
    if !is_root("a user of its own") {
        return;
    }
    let site = Site::new();
    private(&site);
    let export = format!("{}:rw,no_auth_nlm", site.export.display());
    let server = Server::start(site.path(), &["--export", &export]);
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    a.as_user(STRANGER, STRANGER);
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.test(&file, 1, (0, 10), true), Ok(Stat::Granted));
}
