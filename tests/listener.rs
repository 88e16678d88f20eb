//! The listener over real sockets: what RFC 5531 says each call gets, and what a bad peer costs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use cleat::rpc_server::{
    Answer, CONNECTION_REQUESTS_MAX, Call, Listener, Once, Program, RECORD_BYTES_MAX, Repeat,
    Sockets,
};
use cleat_rpc::message::{ReplyError, decode_reply};
use cleat_rpc::{CallHeader, Credential, Fault, Writer};

const PROGRAM: u32 = 0x2000_0001;
const ECHO: u32 = 1;
const SLOW_ECHO: u32 = 2;
const LOCAL_ADDRESS: u32 = 3;
const COUNT: u32 = 4;
const SLOW_COUNT: u32 = 5;

/// Answers with what it was sent.
#[derive(Default)]
struct Echo {
    started: AtomicUsize,
    counted: AtomicU32,
}

impl Program for Echo {
    fn number(&self) -> u32 {
        PROGRAM
    }

    fn versions(&self) -> RangeInclusive<u32> {
        2..=3
    }

    fn once(&self, call: &Call) -> Option<Once> {
        let counts = matches!(call.header.procedure, COUNT | SLOW_COUNT);
        counts.then(|| Once::new(Repeat::Answered, Vec::new()))
    }

    fn call(&self, call: Call) -> Answer {
        self.started.fetch_add(1, Ordering::SeqCst);
        let mut results = Writer::new();
        match call.header.procedure {
            0 => Answer::Now(Ok(results)),
            ECHO => {
                results.raw(&call.arguments);
                Answer::Now(Ok(results))
            }
            SLOW_ECHO => Answer::later(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                results.raw(&call.arguments);
                Ok(results)
            }),
            LOCAL_ADDRESS => {
                results.opaque(call.local.ip().to_string().as_bytes());
                Answer::Now(Ok(results))
            }
            COUNT => {
                results.u32(self.counted.fetch_add(1, Ordering::SeqCst));
                Answer::Now(Ok(results))
            }
            SLOW_COUNT => {
                results.u32(self.counted.fetch_add(1, Ordering::SeqCst));
                Answer::later(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Ok(results)
                })
            }
            _ => Answer::Now(Err(Fault::ProcedureUnavailable)),
        }
    }
}

struct Server {
    runtime: tokio::runtime::Runtime,
    listener: Listener,
    echo: Arc<Echo>,
    address: SocketAddr,
}

fn serve(address: &str) -> Server {
    serve_with(address, Listener::new)
}

fn serve_with(address: &str, listener: fn(Vec<Arc<dyn Program>>) -> Listener) -> Server {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let echo = Arc::new(Echo::default());
    let listener = listener(vec![Arc::clone(&echo) as Arc<dyn Program>]);
    let address = runtime.block_on(async {
        let sockets = Sockets::bind(&[address.parse().expect("an address")]).expect("bound");
        let address = sockets.addresses()[0];
        listener.serve(sockets);
        address
    });
    Server { runtime, listener, echo, address }
}

fn message(xid: u32, program: u32, version: u32, procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    let credential = Credential::None;
    CallHeader { xid, program, version, procedure, credential }.encode(&mut writer);
    writer.raw(arguments);
    writer.into_bytes().to_vec()
}

fn fragment(data: &[u8], last: bool) -> Vec<u8> {
    let mark = u32::try_from(data.len()).expect("short") | (u32::from(last) << 31);
    [&mark.to_be_bytes()[..], data].concat()
}

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

fn read_record(stream: &mut TcpStream) -> Vec<u8> {
    let mut mark = [0; 4];
    stream.read_exact(&mut mark).expect("a mark");
    let mark = u32::from_be_bytes(mark);
    assert!(mark >> 31 == 1, "one fragment");
    let mut record = vec![0; (mark & 0x7fff_ffff) as usize];
    stream.read_exact(&mut record).expect("a record");
    record
}

fn exchange(stream: &mut TcpStream, record: &[u8]) -> Vec<u8> {
    stream.write_all(&fragment(record, true)).expect("sent");
    read_record(stream)
}

#[test]
fn a_call_in_several_fragments_is_one_call() {
    let server = serve("127.0.0.1:0");
    let mut stream = connect(&server);
    let call = message(1, PROGRAM, 3, ECHO, b"abcdefgh");
    for (index, piece) in call.chunks(5).enumerate() {
        let last = (index + 1) * 5 >= call.len();
        stream.write_all(&fragment(piece, last)).expect("sent");
    }
    let record = read_record(&mut stream);
    let (xid, results) = decode_reply(&record).expect("a reply");
    assert_eq!((xid, results.expect("results").rest()), (1, &b"abcdefgh"[..]));
}

/// A client whose RPC library flushes every 256 bytes (RFC 5531 11 sets no least size).
#[test]
fn a_large_call_in_thousands_of_fragments_is_one_call() {
    let server = serve("127.0.0.1:0");
    let mut stream = connect(&server);
    let data: Vec<u8> = (0..1 << 20).map(|at: u32| at.to_be_bytes()[2]).collect();
    let call = message(1, PROGRAM, 3, ECHO, &data);
    let last = call.chunks(256).len() - 1;
    let pieces = call.chunks(256).enumerate();
    let sent: Vec<u8> = pieces.flat_map(|(index, piece)| fragment(piece, index == last)).collect();
    stream.write_all(&sent).expect("sent");
    let record = read_record(&mut stream);
    let (xid, results) = decode_reply(&record).expect("a reply");
    assert_eq!((xid, results.expect("results").rest() == data), (1, true));
}

#[test]
fn each_wrong_call_gets_its_own_fault() {
    let server = serve("127.0.0.1:0");
    let mut stream = connect(&server);
    let cases = [
        (message(1, 99, 3, 0, &[]), ReplyError::NotRun(1)),
        (message(2, PROGRAM, 4, 0, &[]), ReplyError::NotRun(2)),
        (message(3, PROGRAM, 3, 77, &[]), ReplyError::NotRun(3)),
        (message(4, PROGRAM, 3, 0, &[])[..20].to_vec(), ReplyError::NotRun(4)),
    ];
    for (call, expected) in cases {
        let record = exchange(&mut stream, &call);
        let (_, results) = decode_reply(&record).expect("a reply");
        assert_eq!(results.map(|_| ()), Err(expected));
    }
    let record = exchange(&mut stream, &message(2, PROGRAM, 4, 0, &[]));
    assert_eq!(record[24..], [0, 0, 0, 2, 0, 0, 0, 3], "the versions that are served");
}

#[test]
fn a_record_over_the_cap_ends_the_connection_and_no_other() {
    let server = serve("127.0.0.1:0");
    let (mut bad, mut good) = (connect(&server), connect(&server));
    let length = u32::try_from(RECORD_BYTES_MAX + 1).expect("short");
    bad.write_all(&(length | 1 << 31).to_be_bytes()).expect("sent");
    assert_eq!(bad.read(&mut [0; 8]).expect("closed, not reset"), 0);
    exchange(&mut good, &message(1, PROGRAM, 3, 0, &[]));
}

#[test]
fn a_reply_from_a_client_is_dropped() {
    let server = serve("127.0.0.1:0");
    let mut stream = connect(&server);
    stream.write_all(&fragment(&[0, 0, 0, 9, 0, 0, 0, 1], true)).expect("sent");
    let record = exchange(&mut stream, &message(1, PROGRAM, 3, 0, &[]));
    assert_eq!(decode_reply(&record).map(|(xid, _)| xid), Some(1));
}

#[test]
fn a_client_that_reads_no_answers_is_not_read_for_ever() {
    let server = serve("127.0.0.1:0");
    let mut stream = connect(&server);
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let call = fragment(&message(1, PROGRAM, 3, ECHO, &[7; 256 << 10]), true);
    let mut sent = 0;
    while sent < 1000 && stream.write_all(&call).is_ok() {
        sent += 1;
    }
    assert!(sent < 1000, "the server took 250 MiB whose answers nobody read");
    let started = server.echo.started.load(Ordering::SeqCst);
    // Beyond those in flight, only what the kernel's buffers on both sides hold was answered.
    assert!(started <= CONNECTION_REQUESTS_MAX + 64, "{started} were started");
}

#[test]
fn a_record_must_become_whole_in_time_and_a_silent_connection_stays() {
    let stall = |programs| Listener::with_stall(programs, Duration::from_millis(300));
    let server = serve_with("127.0.0.1:0", stall);
    let (mut silent, mut slow) = (connect(&server), connect(&server));
    let call = fragment(&message(1, PROGRAM, 3, 0, &[]), true);
    // A byte now and then is no way to hold a connection.
    let given_up = call[..call.len() - 1].iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        slow.write_all(&[*byte]).is_err()
    });
    assert!(given_up || slow.read(&mut [0; 8]).is_ok_and(|count| count == 0));
    silent.write_all(&call).expect("sent");
    read_record(&mut silent);
}

#[test]
fn a_stop_answers_what_is_in_flight() {
    let server = serve("127.0.0.1:0");
    let mut stream = connect(&server);
    stream.write_all(&fragment(&message(5, PROGRAM, 3, SLOW_ECHO, b"wait"), true)).expect("sent");
    while server.echo.started.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert!(server.runtime.block_on(server.listener.stop(Duration::from_secs(5))));
    let record = read_record(&mut stream);
    assert_eq!(decode_reply(&record).map(|(xid, _)| xid), Some(5));
    assert_eq!(stream.read(&mut [0; 8]).expect("closed, not reset"), 0);
}

#[test]
fn a_datagram_is_answered_from_the_address_it_came_to() {
    for (address, target) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")] {
        let server = serve(address);
        let bind = if target == "::1" { "[::1]:0" } else { "127.0.0.1:0" };
        let socket = UdpSocket::bind(bind).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        // A connected socket takes an answer from no other address.
        socket
            .connect(SocketAddr::new(target.parse().expect("ip"), server.address.port()))
            .expect("connected");
        socket.send(&message(7, PROGRAM, 3, LOCAL_ADDRESS, &[])).expect("sent");
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).expect("an answer");
        let (xid, results) = decode_reply(&buffer[..length]).expect("a reply");
        let told = results.expect("results").opaque(64).expect("an address");
        assert_eq!((xid, told), (7, target.as_bytes()));
    }
}

fn count(record: &[u8]) -> u32 {
    let (_, results) = decode_reply(record).expect("a reply");
    results.expect("results").u32().expect("a count")
}

#[test]
fn a_repeated_call_gets_the_first_answer_on_any_connection() {
    let server = serve("127.0.0.1:0");
    let (mut one, mut other) = (connect(&server), connect(&server));
    let call = |xid, arguments: &[u8]| message(xid, PROGRAM, 3, COUNT, arguments);
    assert_eq!(count(&exchange(&mut one, &call(7, b"aaaa"))), 0);
    assert_eq!(count(&exchange(&mut one, &call(7, b"aaaa"))), 0);
    assert_eq!(count(&exchange(&mut other, &call(7, b"aaaa"))), 0);
    assert_eq!(count(&exchange(&mut other, &call(7, b"bbbb"))), 1, "it asks something else");
    assert_eq!(count(&exchange(&mut other, &call(8, b"aaaa"))), 2, "it is another call");
}

#[test]
fn a_call_repeated_while_it_runs_waits_for_the_one_answer() {
    let server = serve("127.0.0.1:0");
    let (mut one, mut other) = (connect(&server), connect(&server));
    let call = fragment(&message(7, PROGRAM, 3, SLOW_COUNT, &[]), true);
    one.write_all(&call).expect("sent");
    // The first connection is gone before its answer is there: the work goes on.
    drop(one);
    while server.echo.counted.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    other.write_all(&call).expect("sent");
    other.write_all(&call).expect("sent");
    assert_eq!(count(&read_record(&mut other)), 0);
    assert_eq!(count(&read_record(&mut other)), 0);
    assert_eq!(server.echo.counted.load(Ordering::SeqCst), 1);
}
