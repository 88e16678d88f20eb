//! NLM_*_MSG and NLM_*_RES from end to end, as macOS speaks them. Each test has a network of its
//! own, so it needs root.

mod harness;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use cleat::lockd::PENDING_PER_CLIENT_MAX;
use cleat_nlm::wire::{CancelArgs, Stat, TestArgs, UnlockArgs};
use cleat_nlm::{Operation, Procedure, Version};
use cleat_rpc::message::ReplyError;
use harness::held::{A, B, SERVER, SOON, TEN, at};
use harness::host::{Host, Resulted, link_local, own_network};
use harness::{Client, EXCLUSIVE, How, Server, Site, WAIT, alock, until};

const QUIET: Duration = Duration::from_millis(300);
/// Shorter than a port mapper that says nothing is asked: who had to wait for its end comes later.
const BEFORE_IT_IS_GIVEN_UP: Duration = Duration::from_secs(4);

fn speaking(version: Version, mut client: Client) -> Client {
    client.version = version;
    client
}

/// Sends a message about the first ten bytes, whose cookie is the client's.
fn try_send(
    client: &mut Client,
    operation: Operation,
    fh: &[u8],
    svid: u32,
    how: How,
) -> Result<Vec<u8>, ReplyError> {
    let (name, cookie) = (client.name.clone(), client.cookie.clone());
    let (lock, How { exclusive, block, .. }) = (alock(&name, fh, svid, TEN), how);
    let (cookie, message) = (&cookie[..], Procedure::Message(operation));
    let sent = match operation {
        Operation::Test | Operation::Granted => {
            client.try_nlm(message, &TestArgs { cookie, exclusive, lock })
        }
        Operation::Lock => client.try_nlm(message, &client.lock_args(cookie, lock, how)),
        Operation::Cancel => {
            client.try_nlm(message, &CancelArgs { cookie, block, exclusive, lock })
        }
        Operation::Unlock => client.try_nlm(message, &UnlockArgs { cookie, lock }),
    };
    sent.expect("a reply")
}

fn send(client: &mut Client, operation: Operation, fh: &[u8], svid: u32, how: How) {
    assert_eq!(try_send(client, operation, fh, svid, how), Ok(vec![]));
}

/// What comes of each message, in the order in which they can be sent to a file that is free.
const STORY: [(Operation, How, Stat); 6] = [
    (Operation::Test, EXCLUSIVE, Stat::Granted),
    (Operation::Lock, EXCLUSIVE, Stat::Granted),
    (Operation::Lock, WAIT, Stat::Granted),
    (Operation::Cancel, WAIT, Stat::Denied),
    (Operation::Unlock, EXCLUSIVE, Stat::Granted),
    // We wait for nothing.
    (Operation::Granted, EXCLUSIVE, Stat::Denied),
];

#[test]
fn each_result_follows_as_a_call_from_where_its_message_went() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let server = Server::start_at(site.path(), "*:2049", &["--export", &export]);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (client, server_ip) in [(A, SERVER[0]), (B, SERVER[1]), (v6, v6)] {
        let host = Host::new(client);
        let mut mounting = Client::connect_to(at(&server, server_ip), "a", client);
        let file = mounting.file(&site);
        let mut questions = 0;
        for version in Version::ALL {
            for udp in [true, false] {
                let connect = if udp { Client::over_udp } else { Client::connect_to };
                let mut a = speaking(version, connect(at(&server, server_ip), "a", client));
                for (number, (operation, how, stat)) in STORY.into_iter().enumerate() {
                    a.cookie = vec![u8::try_from(number).expect("small"); number];
                    send(&mut a, operation, &file, 7, how);
                    let result = host.resulted(SOON);
                    let (cookie, holder) = (a.cookie.clone(), None);
                    let from = if udp { at(&server, server_ip) } else { result.from };
                    assert_eq!(from.ip(), server_ip);
                    let expected = Resulted { from, udp, version, operation, cookie, stat, holder };
                    assert_eq!(result, expected);
                }
                questions += 1;
                assert_eq!(host.questions(), questions, "found once");
            }
        }
        host.not_resulted(QUIET);
    }
}

#[test]
fn a_denied_test_names_the_holder_in_its_result() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let host = Host::new(A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let file = b.file(&site);
    assert_eq!(b.lock(&file, 9, (5, 1 << 40), EXCLUSIVE), Stat::Granted);
    for (version, holder) in
        [(Version::V1, (9, 5, 0)), (Version::V3, (9, 5, 0)), (Version::V4, (9, 5, 1 << 40))]
    {
        let mut a = speaking(version, Client::over_udp(at(&server, SERVER[0]), "a", A));
        send(&mut a, Operation::Test, &file, 7, EXCLUSIVE);
        let result = host.resulted(SOON);
        assert_eq!((result.stat, result.holder), (Stat::Denied, Some(holder)));
        send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
        assert_eq!(host.resulted(SOON).stat, Stat::Denied);
    }
}

#[test]
fn a_message_that_blocks_says_so_and_is_granted_when_its_turn_comes() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let host = Host::new(A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let file = b.file(&site);
    for version in Version::ALL {
        assert_eq!(b.lock(&file, 9, TEN, EXCLUSIVE), Stat::Granted);
        let mut a = speaking(version, Client::over_udp(at(&server, SERVER[1]), "a", A));
        send(&mut a, Operation::Lock, &file, 7, WAIT);
        assert_eq!(host.resulted(SOON).stat, Stat::Blocked);
        assert_eq!(b.unlock(&file, 9, TEN), Stat::Granted);
        let granted = host.granted(SOON);
        assert_eq!((granted.from, granted.udp, granted.version), (SERVER[1], true, version));
        assert_eq!((granted.cookie, granted.range, granted.svid), (a.cookie.clone(), TEN, 7));
        send(&mut a, Operation::Unlock, &file, 7, EXCLUSIVE);
        assert_eq!(host.resulted(SOON).stat, Stat::Granted);
    }
}

#[test]
fn a_message_that_is_sent_again_gets_its_result_again_and_a_late_one_does_nothing() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let host = Host::new(A);
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    let file = b.file(&site);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    let first = host.resulted(SOON);
    a.repeat();
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    assert_eq!(host.resulted(SOON), first);
    for _ in 0..2 {
        send(&mut a, Operation::Unlock, &file, 7, EXCLUSIVE);
        assert_eq!(host.resulted(SOON).stat, Stat::Granted);
        a.repeat();
    }
    // The LOCK again, late: by its number it is known.
    a.repeat();
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    host.not_resulted(Duration::from_millis(300));
    assert_eq!(b.lock(&file, 9, TEN, EXCLUSIVE), Stat::Granted, "it did not lock again");
    // One of another number is run.
    for _ in 0..4 {
        assert_eq!(a.test(&file, 7, TEN, true), Err((9, TEN.0, TEN.1)));
    }
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    assert_eq!(host.resulted(SOON).stat, Stat::Denied);
}

/// The client's lock manager came back on another port, and it asks again for what it missed.
#[test]
fn a_client_that_asks_again_is_looked_for_again() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let host = Host::new(A);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    let file = Client::connect_to(at(&server, SERVER[0]), "a", A).file(&site);
    let elsewhere = UdpSocket::bind((A, 0)).expect("bound").local_addr().expect("its address");
    let here = host.tell_port(elsewhere.port());
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    host.not_resulted(Duration::from_millis(1500));
    host.tell_port(here);
    a.repeat();
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    assert_eq!(host.resulted(SOON).stat, Stat::Granted);
}

/// A link-local address says nothing without its interface, which the message came by.
#[test]
fn a_client_at_a_link_local_address_is_sent_its_results_on_its_link() {
    if !own_network() {
        return;
    }
    let of = link_local();
    let site = Site::new();
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let _server = Server::start_at(site.path(), "*:2049", &["--export", &export]);
    let host = Host::at(of(2, 0));
    let file = Client::connect_at(of(1, 2049), "a", of(2, 0)).file(&site);
    for connect in [Client::over_udp_at, Client::connect_at] {
        let mut a = connect(of(1, 2049), "a", of(2, 0));
        send(&mut a, Operation::Test, &file, 7, EXCLUSIVE);
        let result = host.resulted(SOON);
        assert_eq!((result.stat, result.from.ip()), (Stat::Granted, of(1, 0).ip()));
    }
}

#[test]
fn a_client_whose_rpcbind_is_silent_delays_nobody_and_has_its_bound() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let host = Host::new(B);
    let _silent = UdpSocket::bind((A, 111)).expect("a port mapper that says nothing");
    let mut b = Client::over_udp(at(&server, SERVER[0]), "b", B);
    let file = Client::connect_to(at(&server, SERVER[0]), "b", B).file(&site);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    let answers: Vec<_> = (0..2 * PENDING_PER_CLIENT_MAX)
        .map(|_| try_send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE))
        .collect();
    let (taken, refused) = answers.split_at(PENDING_PER_CLIENT_MAX);
    assert!(taken.iter().all(|answer| *answer == Ok(vec![])));
    // SYSTEM_ERR: it was not taken.
    assert!(refused.iter().all(|answer| *answer == Err(ReplyError::NotRun(5))));
    send(&mut b, Operation::Lock, &file, 7, EXCLUSIVE);
    assert_eq!(host.resulted(BEFORE_IT_IS_GIVEN_UP).stat, Stat::Denied);
    // What it asked for was done, and it may ask otherwise.
    assert_eq!(a.unlock(&file, 7, TEN), Stat::Granted);
    send(&mut b, Operation::Lock, &file, 7, EXCLUSIVE);
    assert_eq!(host.resulted(BEFORE_IT_IS_GIVEN_UP).stat, Stat::Granted);
}

#[test]
fn a_host_that_may_use_no_export_is_not_called() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let file = site.path().join("cleat.toml");
    let exports = format!(
        "[[export]]\npath = \"{}\"\nclients = {{ \"{B}\" = \"rw\" }}\n",
        site.export.display()
    );
    std::fs::write(&file, exports).expect("a file");
    let server = Server::start(site.path(), &["--config", file.to_str().expect("text")]);
    let (stranger, host) = (Host::new(A), Host::new(B));
    let fh = Client::connect_to(at(&server, SERVER[0]), "b", B).file(&site);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    for operation in [Operation::Test, Operation::Lock, Operation::Cancel, Operation::Unlock] {
        let answer = try_send(&mut a, operation, &fh, 7, EXCLUSIVE);
        assert!(answer.is_err(), "{operation:?}: {answer:?}");
    }
    let mut b = Client::over_udp(at(&server, SERVER[0]), "b", B);
    send(&mut b, Operation::Test, &fh, 7, EXCLUSIVE);
    assert_eq!(host.resulted(SOON).stat, Stat::Granted);
    stranger.not_resulted(QUIET);
    assert_eq!(stranger.questions(), 0, "not even for its port");
}

#[test]
fn results_that_nobody_asked_for_change_nothing() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_to(at(&server, SERVER[0]), "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 7, TEN, EXCLUSIVE), Stat::Granted);
    for version in Version::ALL {
        a.version = version;
        for stat in [Stat::Granted, Stat::Denied] {
            for cookie in [&b""[..], &[0; 12], &[0xff; 12], &[1; 1024]] {
                a.granted_result(cookie, stat);
            }
        }
    }
    a.version = Version::V4;
    let mut b = Client::connect_to(at(&server, SERVER[0]), "b", B);
    assert_eq!(b.lock(&file, 7, TEN, EXCLUSIVE), Stat::Denied);
}

#[test]
fn a_stop_waits_for_the_results_of_messages_that_were_taken() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let export = format!("{}:rw,no_root_squash", site.export.display());
    let mut server = Server::start_at(site.path(), "*:2049", &["--export", &export]);
    let host = Host::new(A);
    let mut a = Client::over_udp(at(&server, SERVER[0]), "a", A);
    let file = Client::connect_to(at(&server, SERVER[0]), "a", A).file(&site);
    // Its port mapper says nothing yet, so its result cannot go out.
    host.silence(true);
    send(&mut a, Operation::Lock, &file, 7, EXCLUSIVE);
    let pid = rustix::process::Pid::from_raw(server.id().try_into().expect("a process id"));
    let pid = pid.expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    until(SOON, true, || server.log().contains("SIGTERM: stopping"));
    host.silence(false);
    let Resulted { operation, stat, .. } = host.resulted(SOON);
    assert_eq!((operation, stat), (Operation::Lock, Stat::Granted));
    assert_eq!(server.ended().code(), Some(0));
}
