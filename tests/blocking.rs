//! "Blocking and GRANTED", row by row of what interoperation with real clients asks, and its races.
//! Each test has a network of its own, so it needs root.

mod harness;

use std::net::UdpSocket;
use std::process::Command;
use std::sync::Barrier;
use std::time::Duration;

use cleat_nlm::wire::Stat;
use harness::held::{A, B, DENIED, HOLDER, QUIET, SERVER, SOON, Story, TEN, at, expected, held};
use harness::host::{Host, Say, own_network};
use harness::{Client, EXCLUSIVE, SHARED, Site, WAIT, WAIT_SHARED, until};

#[test]
fn rows_1_and_2_blocked_is_answered_at_once_and_the_call_comes_as_the_lock_went() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(A);
    let cookies = [&b""[..], &[7; 32]];
    for (udp, ip, cookie) in
        [(false, SERVER[0], cookies[0]), (true, SERVER[1], cookies[1]), (true, SERVER[0], &[0])]
    {
        let connect = if udp { Client::over_udp } else { Client::connect_to };
        let mut a = connect(at(&server, ip), "a", A);
        a.cookie = cookie.to_vec();
        assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
        host.not_granted(Duration::from_millis(50));
        assert_eq!(holder.unlock(&file, 1, (5, 1)), Stat::Granted);
        host.not_granted(Duration::from_millis(50));
        assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
        assert_eq!(host.granted(SOON), expected(ip, udp, cookie, &file, 7));
        host.not_granted(QUIET);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
        assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    }
}

#[test]
fn row_2_the_call_says_the_range_that_was_asked_for_and_not_what_it_merged_with() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    assert_eq!(a.lock(&file, 7, (10, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON), expected(SERVER[0], false, b"cookie", &file, 7));
    // They are one when the answer has arrived.
    until(SOON, Err((7, 0, 20)), || holder.test(&file, 1, (0, 0), true));
}

#[test]
fn row_3_the_call_is_repeated_until_it_is_acknowledged_and_a_late_no_takes_nothing_away() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } =
        Story::over(&site, Client::over_udp);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    host.answers([Say::Nothing, DENIED]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    let first = host.granted(SOON);
    assert_eq!(host.granted(SOON), first);
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
    assert_eq!(a.cancel(&file, 7, TEN, true), Stat::Denied);
}

#[test]
fn row_3_the_resent_lock_and_the_unlock_acknowledge_too() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } =
        Story::over(&site, Client::over_udp);
    for svid in [7, 8] {
        assert_eq!(a.lock(&file, svid, TEN, WAIT), Stat::Blocked);
    }
    host.answers([Say::Nothing, Say::Nothing]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 7);
    // The re-sent LOCK: it heard of it.
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Granted);
    host.not_granted(QUIET);
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 8);
    // The UNLOCK: it heard of it, and wants it no more.
    assert_eq!(a.unlock(&file, 8, TEN), Stat::Granted);
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
}

/// The first call met a closed port: the client cannot have acted on it, so its "no" to the second
/// is one.
#[test]
fn row_3_the_port_is_asked_for_again_where_a_call_fails_and_a_no_then_is_a_no() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    let closed = UdpSocket::bind((A, 0)).expect("a port").local_addr().expect("its address");
    let open = host_a.tell_port(closed.port());
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    until(SOON, true, || server.log().contains("GRANTED brought no answer"));
    host_a.answers([DENIED]);
    host_a.tell_port(open);
    assert_eq!(host_a.granted(SOON).svid, 7);
    assert_eq!(host_b.granted(SOON).svid, 7);
}

#[test]
fn row_4_denied_restores_what_the_owner_held_before_and_serves_the_next() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut holder = Client::connect_from(&server, "holder", HOLDER);
    let mut a = Client::connect_to(at(&server, SERVER[0]), "a", A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let file = holder.file(&site);
    assert_eq!(holder.lock(&file, 1, TEN, SHARED), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (0, 5), SHARED), Stat::Granted);
    assert_eq!(a.lock(&file, 1, TEN, WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 1, (5, 5), WAIT), Stat::Blocked);
    host_a.answers([DENIED]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host_a.granted(SOON).range, TEN);
    assert_eq!(host_b.granted(SOON).range, (5, 5));
    // The upgrade is undone: others may share the first five bytes again.
    assert_eq!(holder.lock(&file, 1, (0, 5), SHARED), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, (0, 5), EXCLUSIVE), Stat::Denied);
    host_a.not_granted(QUIET);
}

#[test]
fn row_4_denied_grace_period_means_try_again_in_about_10_s() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    host.answers([Say::Stat(Stat::DeniedGracePeriod)]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    let first = host.granted(SOON);
    host.not_granted(Duration::from_secs(8));
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied, "it stays a's meanwhile");
    assert_eq!(host.granted(2 * SOON), first);
}

#[test]
fn row_5_unlock_of_a_range_implies_cancel_of_that_owners_waiters_on_it() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    for svid in [7, 8] {
        assert_eq!(a.lock(&file, svid, TEN, WAIT), Stat::Blocked);
    }
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 8);
    assert_eq!(a.unlock(&file, 8, TEN), Stat::Granted);
    host.not_granted(QUIET);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
}

#[test]
fn row_6_cancel_of_a_waiter_is_granted_and_the_mode_is_part_of_the_match() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    // Nobody waits in this mode, or for this range: nothing is cancelled.
    assert_eq!(a.cancel(&file, 7, TEN, false), Stat::Granted);
    assert_eq!(a.cancel(&file, 7, (0, 9), true), Stat::Granted);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 7);
    // It is held now.
    assert_eq!(a.cancel(&file, 7, TEN, true), Stat::Denied);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
    assert_eq!(holder.lock(&file, 1, TEN, WAIT), Stat::Blocked);
    assert_eq!(holder.cancel(&file, 1, TEN, true), Stat::Granted);
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(a.lock(&file, 9, TEN, EXCLUSIVE), Stat::Granted);
}

#[test]
fn row_6_a_cancel_that_crosses_the_call_is_denied_and_does_not_unlock() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } =
        Story::over(&site, Client::over_udp);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    host.answers([Say::Nothing]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!(host.granted(SOON).svid, 7);
    assert_eq!(a.cancel(&file, 7, TEN, true), Stat::Denied);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Denied);
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted);
    host.not_granted(QUIET);
}

#[test]
fn row_7_one_dead_client_does_not_delay_another_clients_grant() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let host = Host::new(B);
    // Nothing listens at A; and one whose datagrams vanish there.
    let silent = UdpSocket::bind((A, 111)).expect("a port mapper that says nothing");
    for udp in [false, true] {
        let connect = if udp { Client::over_udp } else { Client::connect_to };
        let mut dead = connect(at(&server, SERVER[0]), "dead", A);
        for svid in 0..20 {
            let range = (u64::from(svid), 1);
            assert_eq!(holder.lock(&file, 1, range, EXCLUSIVE), Stat::Granted);
            assert_eq!(dead.lock(&file, svid, range, WAIT), Stat::Blocked);
        }
    }
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    assert_eq!(holder.lock(&file, 1, (100, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (100, 1), WAIT), Stat::Blocked);
    assert_eq!(holder.unlock(&file, 1, (0, 0)), Stat::Granted);
    // The dead one's port mapper is given up after 5 s: who waits for that comes later.
    assert_eq!(host.granted(Duration::from_secs(4)).range, (100, 1));
    drop(silent);
}

/// The holder unlocks at the moment in which somebody else does something, and what that got.
fn cross<T: Send>(holder: &mut Client, file: &[u8], other: impl FnOnce() -> T + Send) -> T {
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            both.wait();
            other()
        });
        both.wait();
        assert_eq!(holder.unlock(file, 1, TEN), Stat::Granted);
        other.join().expect("an answer")
    })
}

/// One client unlocks while another asks: whichever comes first, the other is not left waiting.
#[test]
fn row_8_unlock_and_enqueue_are_atomic_to_each_other() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    for _ in 0..300 {
        match cross(&mut holder, &file, || a.lock(&file, 7, TEN, WAIT)) {
            Stat::Blocked => assert_eq!(host.granted(SOON).svid, 7),
            other => assert_eq!(other, Stat::Granted),
        }
        settled(&mut holder, &mut a, &file, true);
    }
}

/// What a holder does so that its lock is no longer in the way.
type Release<'a> = Box<dyn FnMut(&mut Client) + 'a>;

/// An administrator clears what a client has.
fn clear(site: &Site, client: &str) {
    let cleared = Command::new(env!("CARGO_BIN_EXE_cleat"))
        .args(["locks", "clear", "--client", client, "--state-dir"])
        .arg(site.path().join("state"))
        .output()
        .expect("it starts");
    assert!(cleared.status.success(), "{cleared:?}");
}

#[test]
fn row_9_every_release_path_wakes_waiters() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let (server, mut holder, file) = held(&site);
    let (host_a, host_b) = (Host::new(A), Host::new(B));
    let mut a = Client::connect_to(at(&server, SERVER[0]), "a", A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let mut state = 3;
    let mut releases: [(&str, Release<'_>); 6] = [
        (
            "unlock",
            Box::new(|holder| {
                assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
            }),
        ),
        (
            "unlock of a part",
            Box::new(|holder| {
                assert_eq!(holder.unlock(&file, 1, (4, 0)), Stat::Granted);
            }),
        ),
        (
            "downgrade",
            Box::new(|holder| {
                assert_eq!(holder.lock(&file, 1, TEN, SHARED), Stat::Granted);
            }),
        ),
        (
            "client reboot",
            Box::new(|holder| {
                holder.notify("holder", state);
                holder.state = state;
                state += 2;
            }),
        ),
        ("FREE_ALL", Box::new(Client::free_all)),
        ("administrator's clear", Box::new(|_| clear(&site, "holder"))),
    ];
    for (name, release) in &mut releases {
        assert_eq!(a.lock(&file, 7, (5, 2), WAIT_SHARED), Stat::Blocked, "{name}");
        release(&mut holder);
        assert_eq!(host_a.granted(SOON).svid, 7, "{name}");
        assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
        assert_eq!(holder.lock(&file, 1, TEN, EXCLUSIVE), Stat::Granted, "{name}");
    }
    // A rolled-back grant.
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    host_a.answers([DENIED]);
    assert_eq!(holder.unlock(&file, 1, TEN), Stat::Granted);
    assert_eq!((host_a.granted(SOON).svid, host_b.granted(SOON).svid), (7, 7));
    // A waiter that gives up in front of others.
    assert_eq!(b.unlock(&file, 7, TEN), Stat::Granted);
    assert_eq!(holder.lock(&file, 1, TEN, SHARED), Stat::Granted);
    assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
    assert_eq!(b.lock(&file, 7, TEN, WAIT_SHARED), Stat::Blocked, "behind a");
    assert_eq!(a.cancel(&file, 7, TEN, true), Stat::Granted);
    assert_eq!(host_b.granted(SOON).svid, 7);
}

/// What the holder finds after a race that may have left the lock with `a` or with nobody.
fn settled(holder: &mut Client, a: &mut Client, file: &[u8], with_a: bool) {
    let expected = if with_a { Stat::Denied } else { Stat::Granted };
    assert_eq!(holder.lock(file, 1, TEN, EXCLUSIVE), expected);
    if with_a {
        assert_eq!(a.unlock(file, 7, TEN), Stat::Granted);
        assert_eq!(holder.lock(file, 1, TEN, EXCLUSIVE), Stat::Granted);
    }
}

#[test]
fn a_grant_and_a_cancel_that_cross_leave_the_lock_where_the_cancel_was_told() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host: _host, mut a } = Story::new(&site);
    for _ in 0..200 {
        assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
        let cancelled = cross(&mut holder, &file, || a.cancel(&file, 7, TEN, true));
        assert!(matches!(cancelled, Stat::Granted | Stat::Denied));
        settled(&mut holder, &mut a, &file, cancelled == Stat::Denied);
    }
}

/// `a` unlocks what it is being granted: nothing is left with it, whatever it answers to the call.
#[test]
fn a_grant_and_an_unlock_that_cross_leave_nothing_with_the_owner() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    for round in 0..200 {
        host.answers([if round % 2 == 0 { DENIED } else { Say::Stat(Stat::Granted) }]);
        assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
        let unlocked = cross(&mut holder, &file, || a.unlock(&file, 7, TEN));
        assert_eq!(unlocked, Stat::Granted);
        settled(&mut holder, &mut a, &file, false);
        // A late answer of `a` takes nothing from the holder.
        assert_eq!(a.lock(&file, 8, TEN, EXCLUSIVE), Stat::Denied);
    }
}

/// The client asks again while it is being told: one lock and one owner.
#[test]
fn a_lock_that_is_resent_during_its_grant_is_granted_once() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let Story { server: _server, mut holder, file, host, mut a } = Story::new(&site);
    for _ in 0..200 {
        assert_eq!(a.lock(&file, 7, TEN, WAIT), Stat::Blocked);
        match cross(&mut holder, &file, || a.lock(&file, 7, TEN, WAIT)) {
            Stat::Blocked => assert_eq!(host.granted(SOON).svid, 7),
            other => assert_eq!(other, Stat::Granted),
        }
        settled(&mut holder, &mut a, &file, true);
    }
}
