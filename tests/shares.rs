//! Hosts that take all they can get of the listener, and everybody else's locks meanwhile.

mod harness;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use cleat::rpc_server::{CONNECTIONS_MAX, RECORDS_BYTES_MAX};
use cleat_nlm::wire::Stat;
use cleat_rpc::record::mark;
use cleat_rpc::{CallHeader, Credential, Writer};
use harness::host::own_network;
use harness::{Client, EXCLUSIVE, NFS, NLM, Server, Site, connect_from, resident, until};

const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const READ: u32 = 6;
const MIB: u32 = 1 << 20;
/// What a lock takes at the very most, on a slow machine too; a stalled client is given up much
/// later.
const PROMPT: Duration = Duration::from_secs(10);

fn message(xid: u32, (program, version): (u32, u32), procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    CallHeader { xid, program, version, procedure, credential: Credential::None }
        .encode(&mut writer);
    writer.raw(arguments);
    writer.into_bytes().to_vec()
}

fn call(xid: u32, program: (u32, u32), procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let message = message(xid, program, procedure, arguments);
    [&mark(message.len())[..], &message].concat()
}

fn locks_promptly(client: &mut Client, file: &[u8]) {
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(client.lock(file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
        assert_eq!(client.unlock(file, 1, (0, 1)), Stat::Granted);
    }
    assert!(start.elapsed() < PROMPT, "{:?}", start.elapsed());
}

/// A connection that asks for 64 MiB and takes none of it.
fn reads_nothing(server: &Server, file: &[u8]) -> TcpStream {
    let mut stream = connect_from(server, GREEDY);
    let mut arguments = Writer::new();
    arguments.opaque(file);
    arguments.u64(0);
    arguments.u32(MIB);
    let arguments = arguments.into_bytes();
    for xid in 0..64 {
        stream.write_all(&call(xid, NFS, READ, &arguments)).expect("sent");
    }
    stream
}

#[test]
fn clients_that_take_no_answers_hold_nobody_up() {
    let site = Site::new();
    std::fs::write(site.export.join("file"), vec![7; MIB as usize]).expect("a file");
    let server = site.serve();
    let mut other = Client::connect_from(&server, "other", OTHER);
    let file = other.file(&site);
    let before = resident(&server);
    let mut greedy: Vec<TcpStream> = (0..32).map(|_| reads_nothing(&server, &file)).collect();
    // The answers come to where the sockets take no more.
    std::thread::sleep(Duration::from_secs(1));
    locks_promptly(&mut other, &file);
    let (data, eof) = other.read(&file, 0, MIB);
    assert_eq!((data.len(), eof), (MIB as usize, true));
    // The greedy host's own locks have room of their own too.
    locks_promptly(&mut Client::connect_from(&server, "greedy", GREEDY), &file);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 200 << 20, "{} MiB for answers that nobody takes", grown >> 20);
    // Whoever reads at last gets its answers.
    let stream = &mut greedy[0];
    stream.set_read_timeout(Some(PROMPT)).expect("a timeout");
    let mut answers = vec![0; 4 * MIB as usize];
    stream.read_exact(&mut answers).expect("answers");
}

/// Whether a connection answers a call.
fn answers(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PROMPT)).expect("a timeout");
    // One that was refused is closed, or reset under the call.
    stream.write_all(&call(1, NLM, 0, &[])).is_ok() && stream.read_exact(&mut [0; 28]).is_ok()
}

#[test]
fn one_address_has_a_share_of_the_connections() {
    let site = Site::new();
    let server = site.serve();
    // Busy all of them: a part of a record has come.
    let mut greedy: Vec<TcpStream> = (0..CONNECTIONS_MAX / 4)
        .map(|_| {
            let mut stream = connect_from(&server, GREEDY);
            assert!(answers(&mut stream));
            stream.write_all(&[0x80]).expect("sent");
            stream
        })
        .collect();
    until(PROMPT, false, || answers(&mut connect_from(&server, GREEDY)));
    let mut other = Client::connect_from(&server, "other", OTHER);
    let file = other.file(&site);
    locks_promptly(&mut other, &file);
    assert!(!answers(&mut connect_from(&server, GREEDY)));
    assert_eq!(server.log().matches("connection refused").count(), 1, "{}", server.log());
    // A place that is given back is taken again.
    greedy.truncate(CONNECTIONS_MAX / 4 - 1);
    until(PROMPT, true, || answers(&mut connect_from(&server, GREEDY)));
}

/// As many as there may be, of four hosts, and all idle but one: whoever comes is served at once.
#[test]
fn idle_connections_make_room_for_newcomers() {
    let site = Site::new();
    let server = site.serve();
    let mut busy = connect_from(&server, GREEDY);
    assert!(answers(&mut busy));
    let record = call(1, NLM, 0, &[]);
    busy.write_all(&record[..20]).expect("sent");
    let mut idle: Vec<TcpStream> = Vec::new();
    for host in 2..6 {
        let from = [127, 0, 9, host].into();
        for _ in 0..CONNECTIONS_MAX / 4 {
            let mut stream = connect_from(&server, from);
            assert!(answers(&mut stream));
            idle.push(stream);
        }
    }
    let (begun, mut newcomers) = (std::time::Instant::now(), Vec::new());
    for from in [OTHER, [127, 0, 9, 2].into(), GREEDY] {
        let mut newcomer = Client::connect_from(&server, "newcomer", from);
        let file = newcomer.file(&site);
        locks_promptly(&mut newcomer, &file);
        newcomers.push(newcomer);
    }
    assert!(begun.elapsed() < PROMPT);
    assert!(!server.log().contains("connection refused"), "{}", server.log());
    busy.write_all(&record[20..]).expect("sent");
    busy.read_exact(&mut [0; 28]).expect("what is busy is not closed for another");
    let closed = idle.iter_mut().filter(|stream| {
        stream.set_nonblocking(true).expect("set");
        matches!((&**stream).read(&mut [0; 1]), Ok(0))
    });
    // The one busy one was a place too.
    assert_eq!(closed.count(), 4, "no more are closed than newcomers need");
}

/// Hosts that may use no export are told so, and no more of them than their share are connected.
#[test]
fn strangers_have_a_small_share_and_their_answers() {
    if !harness::host::own_network() {
        return;
    }
    for last in 1..4 {
        let add = ["address", "add", &format!("10.9.9.{last}/32"), "dev", "lo"];
        assert!(std::process::Command::new("ip").args(add).status().expect("ip").success());
    }
    let site = Site::new();
    std::fs::write(
        site.path().join("c.toml"),
        format!(
            "[limits]\nconnections = 10\nconnections_of_strangers = 2\n[[export]]\npath = {:?}\n\
             [export.clients]\n\"10.9.9.1\" = \"rw\"\n",
            site.export
        ),
    )
    .expect("written");
    let config = site.path().join("c.toml");
    let server = Server::start(site.path(), &["--config", config.to_str().expect("text")]);
    // Their share idle, one of them more, and none but them gives way for that.
    let [client, one, other] = [1, 2, 3].map(|last| IpAddr::from([10, 9, 9, last]));
    let connect = |from| connect_from(&server, from);
    let mut clients: Vec<TcpStream> = (0..2).map(|_| connect(client)).collect();
    assert!(clients.iter_mut().all(answers));
    let mut first = connect(one);
    assert!(answers(&mut first));
    let mut stranger = Client::connect_from(&server, "a", other);
    assert_eq!(stranger.mount(&site.export), Err(13), "it may use none");
    let mut third = connect(one);
    assert!(answers(&mut third));
    assert!(!answers(&mut first), "the longest idle one of those");
    assert!(clients.iter_mut().all(answers));
    // Busy ones stay, and one more is refused.
    third.write_all(&[0x80]).expect("sent");
    let mut fourth = connect(other);
    until(PROMPT, true, || answers(&mut fourth));
    fourth.write_all(&[0x80]).expect("sent");
    until(PROMPT, false, || answers(&mut connect(other)));
    // Clients are served, and whoever is on this machine.
    let mut served = Client::connect_from(&server, "client", client);
    assert!(served.mount(&site.export).is_ok());
    assert!((0..3).all(|_| answers(&mut connect(OTHER))));
}

#[test]
fn large_records_that_never_become_whole_take_no_more_than_their_share() {
    let site = Site::new();
    let server = site.serve();
    let mut other = Client::connect_from(&server, "other", OTHER);
    let file = other.file(&site);
    locks_promptly(&mut other, &file);
    let before = resident(&server);
    let share = RECORDS_BYTES_MAX / 4;
    let almost = vec![7; MIB as usize - 100];
    let greedy: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = connect_from(&server, GREEDY);
            stream.write_all(&mark(MIB as usize)).expect("sent");
            stream.set_nonblocking(true).expect("set");
            // As much as the server, or the kernel for it, takes now.
            let _ = stream.write_all(&almost);
            stream
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    locks_promptly(&mut other, &file);
    // Others may write meanwhile.
    other.write(&file, 0, &almost).expect("written");
    let grown = resident(&server).saturating_sub(before);
    let bound = share + greedy.len() * (192 << 10);
    assert!(grown < bound, "{} MiB for records that are not whole", grown >> 20);
}

/// A network in which 10.9.0.0/24 are neighbours, and none of them answers to its address.
fn silent_neighbours() {
    for words in [
        "link add ours type veth peer name theirs",
        "address add 10.9.0.1/24 dev ours",
        "link set ours up",
        "link set theirs up",
    ] {
        let ip = Command::new("ip").args(words.split(' ')).status().expect("ip");
        assert!(ip.success(), "{words}");
    }
}

/// Many calls in datagrams that say they come from this neighbour.
fn call_as(neighbour: IpAddr, server: SocketAddr) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.set_ip_transparent_v4(true).expect("an option");
    socket.bind(&SocketAddr::new(neighbour, 700).into()).expect("bound");
    for xid in 0..400 {
        socket.send_to(&message(xid, NLM, 0, &[]), &server.into()).expect("sent");
        // The server has to receive them all.
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What is sent to them waits in the kernel for some seconds, and takes the socket's room.
#[test]
fn answers_to_neighbours_that_are_gone_hold_up_nobody_else() {
    if !own_network() {
        return;
    }
    silent_neighbours();
    let site = Site::new();
    let server = site.serve();
    let ours = SocketAddr::new([10, 9, 0, 1].into(), server.address.port());
    let mut other = Client::over_udp(server.address, "other", OTHER);
    let file = other.file(&site);
    for neighbour in 2..6 {
        call_as([10, 9, 0, neighbour].into(), ours);
    }
    std::thread::sleep(Duration::from_millis(100));
    let start = Instant::now();
    assert_eq!(other.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}
