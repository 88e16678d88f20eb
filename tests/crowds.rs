//! Hosts that call themselves by ever new names, and everybody else's locks meanwhile.

mod harness;

use std::net::{IpAddr, Ipv4Addr};

use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, Server, Site};

const CROWD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// A server that knows 20 clients at the most, and 10 of one address.
fn serve(site: &Site) -> Server {
    let file = site.path().join("cleat.toml");
    std::fs::write(&file, "[limits]\nclients = 20\nclients_per_source = 10\n").expect("a file");
    site.serve_with(&["--config", file.to_str().expect("text")])
}

fn status(site: &Site) -> String {
    let state_dir = site.path().join("state");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_cleat"))
        .args(["status", "--state-dir"])
        .arg(state_dir)
        .output()
        .expect("it starts");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_host_of_many_names_that_hold_nothing_locks_nobody_out() {
    let site = Site::new();
    let server = serve(&site);
    let mut crowd = Client::connect_from(&server, "crowd", CROWD);
    let file = crowd.file(&site);
    let mut holder = Client::connect_from(&server, "holder", OTHER);
    assert_eq!(holder.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    for n in 0..50 {
        crowd.name = format!("name{n}");
        assert_eq!(crowd.lock(&file, 1, (100, 1), EXCLUSIVE), Stat::Granted, "{n}");
        assert_eq!(crowd.unlock(&file, 1, (100, 1)), Stat::Granted);
    }
    assert!(!status(&site).contains("refused limit"), "{}", status(&site));
    let mut new = Client::connect_from(&server, "new", OTHER);
    assert_eq!(new.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(new.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Denied, "the holder's stands");
}

#[test]
fn a_host_of_many_names_that_hold_something_is_refused_alone_and_an_administrator_sees_it() {
    let site = Site::new();
    let server = serve(&site);
    let mut crowd = Client::connect_from(&server, "crowd", CROWD);
    let file = crowd.file(&site);
    for n in 0..14 {
        crowd.name = format!("name{n}");
        // Unmonitored locks leave no client on record, and count like any others.
        let stat = if n % 2 == 0 {
            crowd.nm_lock(&file, n, (n.into(), 1), EXCLUSIVE)
        } else {
            crowd.lock(&file, n, (n.into(), 1), EXCLUSIVE)
        };
        assert_eq!(stat, if n < 10 { Stat::Granted } else { Stat::DeniedNolocks }, "{n}");
    }
    let mut new = Client::connect_from(&server, "name0", OTHER);
    assert_eq!(new.lock(&file, 1, (100, 1), EXCLUSIVE), Stat::Granted);
    let status = status(&site);
    assert!(status.contains("4 refused limit clients per source"), "{status}");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("a limit is reached")).expect("a line");
    assert!(line.contains("limit=\"clients_per_source\" maximum=10"), "{line}");
    assert!(line.contains("name10@127.0.0.2"), "{line}");
    // Once for all four.
    assert_eq!(log.matches("a limit is reached").count(), 1, "{log}");
}
