//! Registration with the real rpcbind, and our own port mapper asked by the real rpcinfo and
//! showmount. Each test runs in network, mount and process namespaces of its own, which end with
//! it: so it needs root, and leaves nothing behind.

mod harness;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cleat::config::Rpcbind;
use cleat::disk::Disk;
use cleat::mountd::Mountd;
use cleat::portmap::services::{MOUNT, NFS, NLM, NSM};
use cleat::portmap::{RegisterError, Registration};
use cleat::rpc_server::{Answer, Call, Listener, Program, Sockets};
use cleat_mount::{ClientRule, Export, ExportTable, Options};
use cleat_rpc::{Fault, Writer};
use harness::is_root;

/// Runs the test of this name, which is `#[ignore]`d here, in namespaces of its own.
fn in_namespaces(name: &str) {
    if !is_root(name) {
        return;
    }
    let script = "mount -t tmpfs tmpfs /run && ip link set lo up && \
                  exec \"$0\" --exact --ignored --nocapture \"$1\"";
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"])
        .args(["--", "sh", "-c", script])
        .arg(std::env::current_exe().expect("this test"))
        .arg(name)
        .status()
        .expect("unshare starts");
    assert!(status.success(), "{name} failed in its namespaces");
}

macro_rules! namespaced {
    ($($name:ident => $inside:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            in_namespaces(stringify!($inside));
        })*
    };
}

namespaced! {
    programs_are_registered_and_removed => inside_registered_and_removed,
    a_second_start_takes_over_what_a_killed_one_left => inside_takes_over,
    a_program_that_another_serves_is_left_to_it => inside_left_to_another,
    over_loopback_where_the_socket_is_not_to_be_seen => inside_over_loopback,
    a_socket_of_another_network_is_not_used => inside_another_network,
    without_rpcbind_the_server_answers_itself => inside_embedded,
    a_forgetful_rpcbind_is_told_again => inside_told_again,
    a_status_monitor_that_comes_and_goes_is_worked_through => inside_statd_comes_and_goes,
}

/// A program that answers NULL, as every program does.
struct Null(u32, RangeInclusive<u32>);

impl Program for Null {
    fn number(&self) -> u32 {
        self.0
    }

    fn versions(&self) -> RangeInclusive<u32> {
        self.1.clone()
    }

    fn call(&self, call: Call) -> Answer {
        Answer::Now(match call.header.procedure {
            0 => Ok(Writer::new()),
            _ => Err(Fault::ProcedureUnavailable),
        })
    }
}

/// Serves MOUNT and the NULL procedures of the others on a port.
fn serve(port: u16) -> (Listener, Vec<SocketAddr>) {
    let rules = ["10.0.0.0/8", "*"].map(|who| ClientRule {
        who: cleat_mount::Who::parse(who).expect(who),
        options: Options::default(),
    });
    let export = Export::new(b"/srv/data", rules.to_vec()).expect("an export");
    let table = Arc::new(ExportTable::new(vec![export]).expect("a table"));
    let mountd = Mountd::new(table, vec![Disk::new("/a".into())], |_, _| Ok(vec![1; 32]));
    let null = |program, versions| Arc::new(Null(program, versions));
    let listener =
        Listener::new(vec![Arc::new(mountd), null(NFS, 3..=3), null(NLM, 1..=4), null(NSM, 1..=1)]);
    let any: [SocketAddr; 2] = [([0; 4], port).into(), ([0_u16; 8], port).into()];
    let sockets = Sockets::bind(&any).expect("a free port");
    let addresses = sockets.addresses();
    listener.serve(sockets);
    (listener, addresses)
}

async fn start(mode: Rpcbind, addresses: &[SocketAddr]) -> Registration {
    Registration::start(mode, addresses, None).await.expect("a way")
}

/// A daemon that ends with its owner.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn daemon(words: &[&str]) -> Daemon {
    Daemon(Command::new(words[0]).args(&words[1..]).spawn().expect(words[0]))
}

fn rpcbind() -> Daemon {
    let daemon = daemon(&["rpcbind", "-f"]);
    wait_until("rpcbind answers", || {
        let rpcinfo = Command::new("rpcinfo").stdout(Stdio::null()).stderr(Stdio::null()).status();
        rpcinfo.is_ok_and(|status| status.success())
    });
    daemon
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("after 10 s it is still not so that {what}");
}

/// The output of a command that must succeed.
fn output(command: &str) -> String {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a command")).args(words).output();
    let output = output.expect(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command}: {text}{error}");
    text
}

/// Lines of `rpcinfo` about our programs, as "program version netid address", sorted.
fn registered() -> Vec<String> {
    let ours = [NFS, MOUNT, NLM, NSM].map(|program| program.to_string());
    let text = output("rpcinfo 127.0.0.1");
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().take(4).collect::<Vec<_>>())
        .filter(|words| ours.contains(&words[0].to_owned()))
        .map(|words| words.join(" "))
        .collect();
    lines.sort();
    lines
}

fn expected(port: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let services = [(NFS, 3), (MOUNT, 3), (NLM, 1), (NLM, 3), (NLM, 4), (NSM, 1)];
    for (program, version) in services {
        for (netid, any) in [("tcp", "0.0.0.0"), ("tcp6", "::"), ("udp", "0.0.0.0"), ("udp6", "::")]
        {
            if program != NFS || netid.starts_with("tcp") {
                lines.push(format!("{program} {version} {netid} {any}.{port}"));
            }
        }
    }
    lines.sort();
    lines
}

/// What clients ask before they mount and lock, with the tools of the system.
fn ask_as_clients_do() {
    output("rpcinfo -p 127.0.0.1");
    for (program, version, transports) in [
        (NFS, 3, &["tcp"][..]),
        (MOUNT, 3, &["tcp", "udp"]),
        (NLM, 1, &["tcp", "udp"]),
        (NLM, 3, &["tcp", "udp"]),
        (NLM, 4, &["tcp", "udp"]),
        (NSM, 1, &["tcp", "udp"]),
    ] {
        for transport in transports {
            output(&format!("rpcinfo -T {transport} 127.0.0.1 {program} {version}"));
            output(&format!("rpcinfo -T {transport}6 ::1 {program} {version}"));
        }
    }
    let exports = output("showmount -e 127.0.0.1");
    assert!(exports.contains("/srv/data 10.0.0.0/8,*"), "{exports}");
    assert!(output("showmount -a 127.0.0.1").contains("All mount points"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_registered_and_removed() {
    let _rpcbind = rpcbind();
    let (listener, addresses) = serve(2049);
    let registration = start(Rpcbind::Auto, &addresses).await;
    assert_eq!((registration.word(), registered()), ("system", expected("8.1")));
    ask_as_clients_do();
    registration.stop().await;
    assert_eq!(registered(), Vec::<String>::new());
    listener.stop(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_takes_over() {
    let _rpcbind = rpcbind();
    let (listener, addresses) = serve(20490);
    let killed = start(Rpcbind::System, &addresses).await;
    std::mem::forget(killed);
    listener.stop(Duration::from_secs(1)).await;
    drop(listener);
    let (_listener, addresses) = serve(2049);
    let registration = start(Rpcbind::System, &addresses).await;
    assert_eq!(registered(), expected("8.1"));
    registration.stop().await;
    assert_eq!(registered(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_left_to_another() {
    let _rpcbind = rpcbind();
    let (_other, addresses) = serve(20490);
    let other = start(Rpcbind::System, &addresses).await;
    let (_listener, addresses) = serve(2049);
    // Nothing is to be had: the other is alive.
    let refused = Registration::start(Rpcbind::System, &addresses, None).await.err();
    assert!(matches!(refused, Some(RegisterError::NothingTaken)), "{refused:?}");
    let registration = start(Rpcbind::Auto, &addresses).await;
    assert_eq!((registration.word(), registered()), ("off", expected("80.10")));
    registration.stop().await;
    assert_eq!(registered(), expected("80.10"));
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_over_loopback() {
    let _rpcbind = rpcbind();
    std::fs::remove_file("/run/rpcbind.sock").expect("the socket");
    let (_listener, addresses) = serve(2049);
    let registration = start(Rpcbind::Auto, &addresses).await;
    assert_eq!(registration.word(), "system");
    assert_eq!(registered(), expected("8.1"));
    registration.stop().await;
    assert_eq!(registered(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_another_network() {
    let _ours = rpcbind();
    // The files are shared, the network is not: a container often sees its host's socket.
    for file in ["/run/rpcbind.sock", "/run/rpcbind.lock"] {
        std::fs::remove_file(file).expect(file);
    }
    let script = "ip link set lo up && exec rpcbind -f";
    let _other = daemon(&["unshare", "--net", "sh", "-c", script]);
    wait_until("the other rpcbind has its socket", || {
        std::os::unix::net::UnixStream::connect("/run/rpcbind.sock").is_ok()
    });
    let (_listener, addresses) = serve(2049);
    let registration = start(Rpcbind::Auto, &addresses).await;
    assert_eq!((registration.word(), registered()), ("system", expected("8.1")));
    assert!(!output("rpcinfo").contains("nlockmgr"), "the other network's rpcbind has been told");
    registration.stop().await;
    assert_eq!(registered(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_embedded() {
    let (_listener, addresses) = serve(2049);
    let registration = start(Rpcbind::Auto, &addresses).await;
    assert_eq!(registration.word(), "embedded");
    ask_as_clients_do();
    let listed = output("rpcinfo -p 127.0.0.1");
    assert!(listed.contains("nlockmgr") && listed.contains("portmapper"), "{listed}");
    // To the system's tools it looks as rpcbind does, but for the netids of the other families.
    let dump = output("rpcinfo 127.0.0.1");
    assert!(dump.contains("0.0.0.0.8.1") && dump.contains("::.0.111"), "{dump}");
    registration.stop().await;
    let gone = Command::new("rpcinfo").args(["-p", "127.0.0.1"]).output().expect("it starts");
    assert!(!gone.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_told_again() {
    let first = rpcbind();
    let (_listener, addresses) = serve(2049);
    let every = Duration::from_millis(200);
    let registration = Registration::start_checked_every(every, Rpcbind::Auto, &addresses, None);
    let registration = registration.await.expect("auto");
    drop(first);
    let _second = rpcbind();
    wait_until("all is registered again", || registered() == expected("8.1"));
    registration.stop().await;
    assert_eq!(registered(), Vec::<String>::new());
}

/// The address that is registered for a program, version and netid.
fn address_of(what: &str) -> Option<String> {
    let text = output("rpcinfo 127.0.0.1");
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut found = words.filter(|words| words.len() > 3 && words[..3].join(" ") == what);
    found.next().map(|words| words[3].to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs namespaces of its own"]
async fn inside_statd_comes_and_goes() {
    let _rpcbind = rpcbind();
    let state = tempfile::TempDir::new().expect("a directory");
    for name in ["sm", "sm.bak"] {
        std::fs::create_dir(state.path().join(name)).expect(name);
    }
    let path = state.path().to_str().expect("text");
    let words = ["rpc.statd", "--foreground", "--no-notify", "--state-directory-path", path];
    let statd = daemon(&words);
    wait_until("rpc.statd is registered", || address_of("100024 1 tcp6").is_some());
    let (_listener, addresses) = serve(2049);
    let callback = "127.0.0.1:40000".parse().expect("an address");
    let every = Duration::from_millis(200);
    let registration =
        Registration::start_checked_every(every, Rpcbind::System, &addresses, Some(callback));
    let registration = registration.await.expect("a way");
    let mut theirs = registration.foreign_statd();
    assert!(*theirs.borrow_and_update());
    assert_eq!(address_of("100021 2 udp").as_deref(), Some("127.0.0.1.156.64"));
    assert_ne!(address_of("100024 1 udp").as_deref(), Some("0.0.0.0.8.1"));
    // It is killed, and leaves its registrations behind.
    drop(statd);
    let patience = Duration::from_secs(20);
    let left = tokio::time::timeout(patience, theirs.wait_for(|theirs| !*theirs)).await;
    assert!(left.expect("in time").is_ok());
    assert_eq!(address_of("100024 1 udp").as_deref(), Some("0.0.0.0.8.1"));
    // Another sees that there is a status monitor, and leaves.
    let mut second = daemon(&words);
    wait_until("the second is gone", || second.0.try_wait().is_ok_and(|ended| ended.is_some()));
    assert_eq!(address_of("100024 1 udp").as_deref(), Some("0.0.0.0.8.1"));
    registration.stop().await;
    assert_eq!((registered(), address_of("100021 2 udp")), (vec![], None));
}
