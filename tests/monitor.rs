//! What a lock manager of the server's host asks of NSM: SM_MON and its kin, from a fake one, and
//! a real rpc.statd beside the server. Each test has a network of its own, so it needs root.

mod harness;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cleat_nlm::monitor::{Mon, MonId, MyId, State};
use cleat_nlm::nsm::{StatRes, procedure};
use cleat_nlm::wire::Stat;
use cleat_rpc::{Encode, Reader};
use harness::host::{Host, Notified, TELL, Told, own_boot, own_network};
use harness::{Client, EXCLUSIVE, NSM, Server, Site, until};

const SOON: Duration = Duration::from_secs(5);
/// Long enough for a message that must not come.
const A_WHILE: Duration = Duration::from_millis(700);
const fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}
/// Where the lock manager of the server's host is.
const HERE: IpAddr = ip(1);
/// A host that is monitored, and a client.
const A: IpAddr = ip(3);
const B: IpAddr = ip(4);
/// What clients mount.
const SERVER: IpAddr = ip(10);

fn serve(site: &Site) -> Server {
    let export = format!("{}:rw,no_root_squash", site.export.display());
    Server::start_at(site.path(), "*:2049", &["--export", &export])
}

/// As `cleat status` has it.
fn callbacks_answered(site: &Site) -> u64 {
    let output = Command::new(env!("CARGO_BIN_EXE_cleat"))
        .args(["status", "--json", "--state-dir"])
        .arg(site.path().join("state"))
        .output()
        .expect("it starts");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    status["since_start"]["nsm_callbacks_answered"].as_u64().expect("a counter")
}

fn connect(from: SocketAddr) -> Client {
    Client::connect_at(SocketAddr::new(SERVER, 2049), "any", from)
}

/// Calls from a port that only root may have, as lock managers do.
fn manager() -> Client {
    static PORTS: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1000);
    let port = PORTS.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    connect(SocketAddr::new(HERE, port))
}

fn mon_id(mon_name: &str) -> MonId<'_> {
    let (program, version, procedure) = TELL;
    let my_id = MyId { my_name: b"here", program, version, procedure };
    MonId { mon_name: mon_name.as_bytes(), my_id }
}

fn mon(client: &mut Client, mon_name: &str) -> StatRes {
    ask(client, procedure::MON, &Mon { mon_id: mon_id(mon_name), private: [7; 16] })
}

fn ask<T: for<'a> cleat_rpc::Decode<'a>>(
    client: &mut Client,
    procedure: u32,
    arguments: &impl Encode,
) -> T {
    let results = client.call(NSM, procedure, &|writer| writer.put(arguments)).expect("results");
    Reader::new(&results).get().expect("a result")
}

fn told(name: &str, state: i32) -> Option<Told> {
    Some(Told { from_reserved_port: true, name: name.into(), state, private: [7; 16] })
}

#[test]
fn a_lock_manager_is_told_once_of_each_restart_of_a_monitored_host_and_of_no_other() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let _server = serve(&site);
    let here = Host::new(HERE);
    let mut manager = manager();
    assert_eq!(mon(&mut manager, "127.0.0.3"), StatRes { success: true, state: 1 });
    assert_eq!(mon(&mut manager, "127.0.0.3"), StatRes { success: true, state: 1 }, "twice");
    assert!(!mon(&mut manager, "no-such-host.invalid").success);
    // The name is not the caller's, or the caller not the host.
    connect(SocketAddr::new(B, 0)).notify("127.0.0.3", 3);
    assert_eq!(here.told(A_WHILE), None);
    let mut a = connect(SocketAddr::new(A, 0));
    a.notify("whatever", 3);
    assert_eq!(here.told(SOON), told("127.0.0.3", 3));
    a.notify("whatever", 3);
    assert_eq!(here.told(A_WHILE), None, "the same state is no news");
    a.notify("whatever", 5);
    assert_eq!(here.told(SOON), told("127.0.0.3", 5));
    let state: State = ask(&mut manager, procedure::UNMON, &mon_id("127.0.0.3"));
    assert_eq!(state, State { state: 1 });
    a.notify("whatever", 7);
    assert_eq!(here.told(A_WHILE), None, "unmonitored");
    mon(&mut manager, "127.0.0.3");
    let my_id = mon_id("").my_id;
    let other = MyId { version: 4, ..my_id };
    let _: State = ask(&mut manager, procedure::UNMON_ALL, &other);
    a.notify("whatever", 9);
    assert_eq!(here.told(SOON), told("127.0.0.3", 9), "it was another's");
    let _: State = ask(&mut manager, procedure::UNMON_ALL, &my_id);
    a.notify("whatever", 11);
    assert_eq!(here.told(A_WHILE), None, "unmonitored with all");
}

#[test]
fn a_lock_manager_that_does_not_answer_is_told_later_even_by_another_instance() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let server = serve(&site);
    let here = Host::new(HERE);
    let port = here.tell_port(1);
    assert!(mon(&mut manager(), "127.0.0.3").success);
    connect(SocketAddr::new(A, 0)).notify("a", 3);
    assert_eq!(here.told(A_WHILE), None);
    server.kill();
    here.tell_port(port);
    let server = serve(&site);
    assert_eq!(here.told(SOON), told("127.0.0.3", 3));
    // The state of the host is that of the machine, which runs on.
    assert_eq!(mon(&mut manager(), "127.0.0.3"), StatRes { success: true, state: 1 });
    until(SOON, 1, || callbacks_answered(&site));
    server.kill();
    let _server = serve(&site);
    assert_eq!(here.told(A_WHILE), None, "it was answered");
    connect(SocketAddr::new(A, 0)).notify("a", 5);
    assert_eq!(here.told(SOON), told("127.0.0.3", 5), "it is still monitored");
}

#[test]
fn only_root_of_this_host_has_hosts_monitored() {
    if !own_network() {
        return;
    }
    let words = ["address", "add", "10.9.9.9/32", "dev", "lo"];
    assert!(Command::new("ip").args(words).status().expect("ip").success());
    let site = Site::new();
    let _server = serve(&site);
    let here = Host::new(HERE);
    let remote: IpAddr = [10, 9, 9, 9].into();
    let host_a = Host::new(A);
    for from in [SocketAddr::new(HERE, 0), SocketAddr::new(remote, 999)] {
        let mut client =
            Client::connect_at(SocketAddr::new([10, 9, 9, 9].into(), 2049), "any", from);
        let refused = mon(&mut client, "127.0.0.3");
        assert!(!refused.success, "{from}");
    }
    connect(SocketAddr::new(A, 0)).notify("a", 3);
    assert_eq!(here.told(A_WHILE), None);
    assert!(mon(&mut manager(), "127.0.0.3").success);
    let mut user = connect(SocketAddr::new(HERE, 0));
    let _: State = ask(&mut user, procedure::UNMON, &mon_id("127.0.0.3"));
    let _: State = ask(&mut user, procedure::UNMON_ALL, &mon_id("").my_id);
    user.call(NSM, procedure::SIMU_CRASH, &|_| {}).expect("an answer");
    assert_eq!(host_a.notified(1, A_WHILE), []);
    connect(SocketAddr::new(A, 0)).notify("a", 5);
    assert_eq!(here.told(SOON), told("127.0.0.3", 5), "it is still monitored");
}

/// The kernel's locks at other servers live as long as the machine, clients' locks here as long
/// as their records.
#[test]
fn monitored_hosts_are_told_of_the_machines_restart_and_not_of_the_servers() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    let boot = site.path().join("boot_id");
    own_boot(&boot);
    let server = serve(&site);
    assert!(mon(&mut manager(), "127.0.0.3").success);
    server.kill();
    let host_a = Host::new(A);
    let server = serve(&site);
    assert_eq!(host_a.notified(1, A_WHILE), []);
    server.kill();
    std::fs::write(&boot, "second").expect("another boot");
    let expected = |state| Notified { from: A, name: "here".into(), state };
    let heard = |host: &Host| {
        let mut heard = host.notified(1, SOON);
        // Which address of ours it comes from is not on record.
        heard.iter_mut().for_each(|one| one.from = A);
        heard
    };
    let server = serve(&site);
    assert_eq!(heard(&host_a), [expected(3)]);
    until(SOON, true, || server.log().contains("a monitored host was told"));
    assert_eq!(mon(&mut manager(), "127.0.0.3"), StatRes { success: true, state: 3 });
    server.kill();
    let server = serve(&site);
    assert_eq!(host_a.notified(1, A_WHILE), [], "the same boot");
    // SM_SIMU_CRASH is such a restart too. What a client holds here stays.
    let file = connect(SocketAddr::new(B, 0)).file(&site);
    let mut b = Client::connect_at(SocketAddr::new(SERVER, 2049), "b", SocketAddr::new(B, 0));
    assert_eq!(b.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    manager().call(NSM, procedure::SIMU_CRASH, &|_| {}).expect("an answer");
    assert_eq!(heard(&host_a), [expected(5)]);
    until(SOON, true, || server.log().contains("a monitored host was told"));
    manager().call(NSM, procedure::SIMU_CRASH, &|_| {}).expect("an answer");
    assert_eq!(host_a.notified(1, A_WHILE), [], "it is monitored no more");
    let mut other = connect(SocketAddr::new(A, 0));
    assert_eq!(other.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Denied);
}

/// A daemon of the system that ends with its test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(words: &[&str]) -> Daemon {
    let command = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).spawn();
    Daemon(command.expect(words[0]))
}

fn run(command: &str) {
    assert!(Command::new("sh").args(["-c", command]).status().expect("sh").success(), "{command}");
}

fn registered(what: &str) -> bool {
    let listed = Command::new("rpcinfo").arg("127.0.0.1").output().expect("rpcinfo").stdout;
    let words = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    String::from_utf8_lossy(&listed).lines().any(|line| words(line) == what)
}

/// The port at which rpcbind has the status monitor.
fn statd_port() -> u16 {
    let listed = Command::new("rpcinfo").args(["-p", "127.0.0.1"]).output().expect("rpcinfo");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut statd = words.filter(|words| words.starts_with(&["100024", "1", "udp"]));
    statd.next().and_then(|words| words[3].parse().ok()).expect("rpc.statd")
}

/// SM_NOTIFY as the client's status monitor sends it: to whom rpcbind names.
fn notify_through_rpcbind(from: IpAddr, name: &str, state: i32) {
    let statd = SocketAddr::new(SERVER, statd_port());
    Client::over_udp(statd, name, from).notify(name, state);
}

fn monitors(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).expect("a directory");
    names.map(|each| each.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn beside_a_real_rpc_statd_a_clients_restart_is_heard_through_it() {
    if !own_network() {
        return;
    }
    let site = Site::new();
    own_boot(&site.path().join("boot_id"));
    run("mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib/nfs && mkdir /run/rpcbind \
         /var/lib/nfs/sm /var/lib/nfs/sm.bak && chown -R statd /var/lib/nfs");
    let _rpcbind = daemon(&["rpcbind", "-f", "-w"]);
    until(SOON * 4, true, || registered("100000 4 udp"));
    let _statd = daemon(&["rpc.statd", "--foreground", "--no-notify"]);
    until(SOON * 4, true, || registered("100024 1 udp"));
    let export = format!("{}:rw,no_root_squash", site.export.display());
    // Not on the address that rpc.statd calls back.
    let listen = format!("{SERVER}:2049");
    let serve = || Server::start_as(site.path(), &listen, "system", &["--export", &export]);
    let server = serve();
    assert!(server.log().contains("has it monitor"), "{}", server.log());
    assert!(registered("100021 2 udp"));
    let at = SocketAddr::new(SERVER, 2049);
    let mut a = Client::connect_to(at, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    let sm = Path::new("/var/lib/nfs/sm");
    until(SOON * 4, vec!["127.0.0.3".to_owned()], || monitors(sm));
    let mut other = Client::connect_to(at, "b", B);
    let mut take = |byte| other.lock(&file, 1, (byte, 1), EXCLUSIVE);
    assert_eq!(take(0), Stat::Denied);
    notify_through_rpcbind(B, "a", 3);
    assert_eq!(take(0), Stat::Denied, "another host under its name");
    notify_through_rpcbind(A, "a", 3);
    until(SOON * 4, Stat::Granted, || take(0));
    until(SOON * 4, 2, || monitors(sm).len());
    // Another instance hears it too, with the same key.
    a.state = 3;
    assert_eq!(a.lock(&file, 1, (5, 1), EXCLUSIVE), Stat::Granted);
    server.kill();
    let server =
        Server::start_as(site.path(), &listen, "system", &["--export", &export, "--grace-s", "1"]);
    let mut a = Client::connect_to(at, "a", A);
    a.state = 3;
    until(SOON * 4, Stat::Granted, || a.lock(&file, 1, (6, 1), EXCLUSIVE));
    let mut other = Client::connect_to(at, "b", B);
    let mut take = |byte| other.lock(&file, 1, (byte, 1), EXCLUSIVE);
    assert_eq!(take(6), Stat::Denied);
    notify_through_rpcbind(A, "a", 5);
    until(SOON * 4, Stat::Granted, || take(6));
    assert!(server.terminate().success());
    assert!(!registered("100021 2 udp"), "nothing of ours stays registered");
    assert!(registered("100024 1 udp"), "and rpc.statd does");
    let _ = UdpSocket::bind(SocketAddr::new(SERVER, 2049)).expect("the port is free");
}
