//! Through the whole server: only a held lock makes anybody wait, and how long a newcomer lets one
//! go first that came before it.

mod harness;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, SHARED, Server, Site, WAIT, WAIT_SHARED, until};

/// What `fair_wait_s` is where nothing is said.
const FAIR_WAIT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(20);

fn client(server: &Server, number: u8) -> Client {
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
    Client::connect_from(server, &format!("c{number}"), from)
}

#[test]
fn who_waits_for_some_bytes_keeps_nobody_from_the_free_ones() {
    let site = Site::new();
    let server = site.serve();
    let (mut one, mut two) = (client(&server, 1), client(&server, 2));
    let file = one.file(&site);
    let (a, c, b) = (1, 2, 1);
    assert_eq!(one.lock(&file, a, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(one.lock(&file, c, (30, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(two.lock(&file, b, (0, 20), WAIT), Stat::Blocked);
    assert_eq!(one.lock(&file, c, (10, 10), WAIT), Stat::Granted);
    assert_eq!(one.lock(&file, a, (30, 10), WAIT), Stat::Blocked);
    assert_eq!(one.unlock(&file, c, (0, 0)), Stat::Granted);
    until(SOON, Err((a, 30, 10)), || two.test(&file, b, (30, 10), false));
    assert_eq!(one.unlock(&file, a, (0, 0)), Stat::Granted);
    until(SOON, Err((b, 0, 20)), || one.test(&file, a, (0, 0), false));
}

#[test]
fn a_wait_behind_another_wait_is_no_deadlock() {
    let site = Site::new();
    std::fs::write(site.export.join("second"), "content").expect("written");
    let server = site.serve();
    let [mut p, mut z, mut q] = [1, 2, 3].map(|number| client(&server, number));
    let first = p.file(&site);
    let root = p.mount(&site.export).expect("mounted");
    let second = p.lookup(&root, "second").expect("found");
    assert_eq!(p.lock(&first, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(z.lock(&second, 1, (5, 3), EXCLUSIVE), Stat::Granted);
    assert_eq!(z.lock(&first, 1, (0, 1), WAIT), Stat::Blocked);
    assert_eq!(q.lock(&second, 1, (5, 10), WAIT), Stat::Blocked);
    assert_eq!(p.lock(&second, 1, (10, 10), WAIT), Stat::Granted);
    assert_eq!(p.lock(&second, 1, (5, 1), WAIT), Stat::Deadlock);
}

#[test]
fn who_does_not_wait_is_denied_where_test_names_a_holder_and_nowhere_else() {
    let site = Site::new();
    let server = site.serve();
    let [mut reader, mut writer, mut other] = [1, 2, 3].map(|number| client(&server, number));
    let file = reader.file(&site);
    assert_eq!(reader.lock(&file, 1, (0, 10), SHARED), Stat::Granted);
    assert_eq!(writer.lock(&file, 1, (0, 20), WAIT), Stat::Blocked);
    for (svid, range, exclusive) in [(1, (0, 10), false), (2, (10, 10), true), (3, (5, 1), true)] {
        let free = other.test(&file, svid, range, exclusive) == Ok(Stat::Granted);
        let how = if exclusive { EXCLUSIVE } else { SHARED };
        assert_eq!(other.lock(&file, svid, range, how) == Stat::Granted, free, "{range:?}");
    }
}

#[test]
fn a_newcomer_lets_a_writer_go_first_but_not_for_long() {
    let site = Site::new();
    let server = site.serve();
    let [mut reader, mut writer, mut late] = [1, 2, 3].map(|number| client(&server, number));
    let file = reader.file(&site);
    assert_eq!(reader.lock(&file, 1, (0, 0), SHARED), Stat::Granted);
    assert_eq!(writer.lock(&file, 1, (0, 0), WAIT), Stat::Blocked);
    // The reader's own client is not held up.
    assert_eq!(reader.lock(&file, 2, (0, 0), WAIT_SHARED), Stat::Granted);
    let start = Instant::now();
    assert_eq!(late.lock(&file, 7, (0, 0), WAIT_SHARED), Stat::Blocked);
    assert_eq!(reader.unlock(&file, 2, (0, 0)), Stat::Granted);
    assert_eq!(reader.unlock(&file, 1, (0, 0)), Stat::Granted);
    until(SOON, Err((1, 0, 0)), || reader.test(&file, 1, (0, 0), false));
    assert!(start.elapsed() < FAIR_WAIT, "the writer waits for readers that hold something alone");
    assert_eq!(writer.unlock(&file, 1, (0, 0)), Stat::Granted);
    until(SOON, Err((7, 0, 0)), || reader.test(&file, 1, (0, 0), true));

    assert_eq!(writer.lock(&file, 1, (0, 0), WAIT), Stat::Blocked);
    let [mut later, mut judge] = [4, 5].map(|number| client(&server, number));
    let start = Instant::now();
    assert_eq!(later.lock(&file, 8, (0, 0), WAIT_SHARED), Stat::Blocked);
    assert_eq!(late.unlock(&file, 7, (0, 1)), Stat::Granted);
    // The bytes from 1 on are still the first reader's: the writer waits, and the newcomer gets in.
    until(SOON, Err((8, 0, 0)), || judge.test(&file, 1, (0, 1), true));
    assert!(start.elapsed() >= FAIR_WAIT - Duration::from_millis(100));
}
