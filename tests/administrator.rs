//! The administrator's commands: the real binary asks a real server about real clients' locks.

mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use cleat_lock::{
    Durability, FileId, LockId, LockRecord, Mode, Owner, Range, Record, RecordOp, Store as _,
};
use cleat_nlm::wire::Stat;
use cleat_nlm::{Note, Origin, Transport};
use harness::{Client, EXCLUSIVE, RECLAIM, SHARED, Server, Site, WAIT, is_root, until};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const A: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
const C: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));

fn state_dir(site: &Site) -> PathBuf {
    site.path().join("state")
}

fn run(site: &Site, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cleat"))
        .args(arguments)
        .arg("--state-dir")
        .arg(state_dir(site))
        .output()
        .expect("it starts")
}

/// What a command that succeeds says.
fn cleat(site: &Site, arguments: &[&str]) -> String {
    let output = run(site, arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*told), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(site: &Site, arguments: &[&str]) -> Value {
    let text = cleat(site, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

/// A command that fails with this line.
fn refused(site: &Site, arguments: &[&str], status: i32, line: &str) {
    let output = run(site, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), told), (Some(status), format!("{line}\n")), "{arguments:?}");
}

fn real(path: &Path) -> String {
    path.canonicalize().expect("a path").to_str().expect("text").to_owned()
}

/// a holds bytes 0 to 9 as its process 7, b waits for 5 to the end as its process 8.
fn hold_and_wait(site: &Site, server: &Server) -> (Client, Client, Vec<u8>) {
    let (mut a, mut b) =
        (Client::connect_from(server, "a", A), Client::connect_from(server, "b", B));
    let file = a.file(site);
    assert_eq!(a.lock(&file, 7, (0, 10), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 8, (5, 0), WAIT), Stat::Blocked);
    (a, b, file)
}

#[test]
fn locks_tells_who_holds_what_and_who_waits_for_whom() {
    let site = Site::new();
    let server = site.serve();
    assert_eq!(cleat(&site, &["locks"]), "no locks\n");
    assert_eq!(json(&site, &["locks"]), Value::Array(vec![]));
    let (_a, mut b, file) = hold_and_wait(&site, &server);
    assert_eq!(b.lock(&file, 9, (9, 1), WAIT), Stat::Blocked);
    // Nothing held forbids this one: it lets b's go first.
    let mut c = Client::connect_from(&server, "c", C);
    assert_eq!(c.lock(&file, 10, (100, 1), WAIT), Stat::Blocked);
    let path = real(&site.export.join("file"));

    let listed = json(&site, &["locks"]);
    let of = |svid: u32| {
        let mut found = rows(&listed).iter().filter(|row| row["svid"] == svid);
        found.next().expect("a row")
    };
    assert_eq!(rows(&listed).len(), 4);
    for row in rows(&listed) {
        assert_eq!((&row["path"], &row["deleted"]), (&path.as_str().into(), &false.into()));
        assert_eq!(row["export"], site.export.to_str().expect("text"));
        assert!(row["age_ms"].as_u64().is_some_and(|age_ms| age_ms < 60_000));
    }
    let (holder, next, last, yields) = (of(7), of(8), of(9), of(10));
    assert_eq!((&holder["kind"], &holder["state"]), (&"lock".into(), &"held".into()));
    assert_eq!((&holder["mode"], &holder["client"]), (&"exclusive".into(), &"a@127.0.0.2".into()));
    assert_eq!((&holder["offset"], &holder["length"]), (&0.into(), &10.into()));
    assert_eq!((&next["kind"], &next["state"]), (&"request".into(), &"waiting".into()));
    assert_eq!((&next["offset"], &next["length"]), (&5.into(), &0.into()));
    assert_eq!((&next["place"], &last["place"]), (&1.into(), &2.into()));
    let awaited = |row: &Value| -> Vec<Value> {
        rows(&row["waits_for"]).iter().map(|one| one["id"].clone()).collect()
    };
    assert_eq!(awaited(next), [holder["id"].clone()]);
    assert_eq!(awaited(last), [holder["id"].clone()]);
    assert_eq!(awaited(yields), [next["id"].clone()]);
    assert_eq!(yields["waits_for"][0]["waiting"], true);

    let table = cleat(&site, &["locks"]);
    let lines: Vec<&str> = table.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert!(lines[0].starts_with("ID"), "{table}");
    assert_eq!(lines[1], path);
    assert_eq!(words(lines[2])[1..4], ["held", "exclusive", "0-9"], "{table}");
    assert_eq!(words(lines[2])[5..], ["7", "a@127.0.0.2"], "{table}");
    assert_eq!(words(lines[3])[1..5], ["waits", "#1", "exclusive", "5-EOF"], "{table}");
    let id = &words(lines[2])[0];
    assert_eq!(lines[4].trim(), format!("waits for {id} of a@127.0.0.2 svid 7"), "{table}");
    assert!(lines[8].ends_with("of b@127.0.0.3 svid 8, which came before"), "{table}");
    assert!(lines.iter().all(|line| line.len() <= 100), "{table}");
    assert_eq!(lines.len(), 9, "{table}");
}

#[test]
fn a_listing_is_of_a_file_or_a_client() {
    let site = Site::new();
    let server = site.serve();
    std::fs::write(site.export.join("other"), "").expect("a file");
    let (mut a, _b, _) = hold_and_wait(&site, &server);
    let root = a.mount(&site.export).expect("mounted");
    let other = a.lookup(&root, "other").expect("found");
    assert_eq!(a.lock(&other, 7, (0, 0), SHARED), Stat::Granted);
    let count =
        |arguments: &[&str]| rows(&json(&site, &[&["locks"][..], arguments].concat())).len();
    let (file, link) = (site.export.join("file"), site.export.join("link"));
    std::fs::hard_link(&file, &link).expect("linked");
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--file", file.to_str().expect("text")]), 2);
    assert_eq!(count(&["--file", link.to_str().expect("text")]), 2);
    for client in ["a", "127.0.0.2", "a@127.0.0.2"] {
        assert_eq!(count(&["--client", client]), 2);
        let both = ["--client", client, "--file", link.to_str().expect("text")];
        assert_eq!(count(&both), 1);
    }
    refused(&site, &["locks", "--client", "c"], 1, "cleat: no client is known as c");
    refused(
        &site,
        &["locks", "--file", "/proc/version"],
        1,
        "cleat: /proc/version is in no export",
    );
    let none = "cleat: /none: No such file or directory (os error 2)";
    refused(&site, &["locks", "--file", "/none"], 1, none);
}

#[test]
fn a_clear_releases_and_who_waits_gets_the_lock() {
    let site = Site::new();
    let server = site.serve();
    let path = site.export.join("file");
    let path = path.to_str().expect("text");
    let by_id = |site: &Site| {
        let listed = json(site, &["locks", "--client", "a"]);
        rows(&listed)[0]["id"].as_str().expect("an id").to_owned()
    };
    for by in 0..4 {
        let (mut a, mut b, file) = hold_and_wait(&site, &server);
        let id = by_id(&site);
        let short: String = id.replace('-', "")[16..24].to_owned();
        let target: &[&str] = match by {
            0 => &["--client", "a"],
            1 => &["--client", "a", "--file", path],
            2 => &["--id", &id],
            _ => &["--id", &short],
        };
        let told = cleat(&site, &[&["locks", "clear"], target].concat());
        assert!(told.ends_with("\nreleased 1 lock\n"), "{told}");
        assert!(told.contains("a@127.0.0.2"), "{told}");
        until(SOON, Stat::Granted, || b.lock(&file, 8, (5, 0), WAIT));
        assert_eq!(a.lock(&file, 7, (0, 10), EXCLUSIVE), Stat::Denied);
        assert_eq!(b.unlock(&file, 8, (0, 0)), Stat::Granted);
    }
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("cleared")).collect();
    assert!(lines.len() == 4 && lines.iter().all(|line| line.contains(" WARN ")), "{log}");
    assert!(lines[0].contains("an administrator cleared all of client a@127.0.0.2: "), "{log}");
    assert!(lines[1].contains(&format!("all of client a@127.0.0.2 on {path:?}: ")), "{log}");
    assert!(lines[3].contains("cleared the one of id "), "{log}");
    let lock = format!("0-9 exclusive of a@127.0.0.2 svid 7 on {:?}", real(Path::new(path)));
    assert!(lines.iter().all(|line| line.contains(&lock)), "{log}");

    let (mut a, _b, file) = hold_and_wait(&site, &server);
    let released = json(&site, &["locks", "clear", "--file", path]);
    assert_eq!((&released["locks"], &released["waiters"]), (&1.into(), &1.into()));
    assert_eq!(rows(&released["claims"]).len(), 2);
    assert_eq!(cleat(&site, &["locks"]), "no locks\n");
    assert_eq!(a.lock(&file, 1, (0, 0), EXCLUSIVE), Stat::Granted);
}

#[test]
fn a_waiting_request_is_cleared_without_its_lock() {
    let site = Site::new();
    let server = site.serve();
    let (mut a, mut b, file) = hold_and_wait(&site, &server);
    let listed = json(&site, &["locks", "--client", "b"]);
    let id = rows(&listed)[0]["id"].as_str().expect("an id");
    let told = cleat(&site, &["locks", "clear", "--id", id]);
    assert!(told.ends_with("\nreleased 1 waiting request\n"), "{told}");
    assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
    assert_eq!(b.test(&file, 8, (0, 0), true), Ok(Stat::Granted));
    assert_eq!(cleat(&site, &["locks"]), "no locks\n");
}

#[test]
fn a_clear_that_names_nothing_or_too_much_releases_nothing() {
    let site = Site::new();
    let server = site.serve();
    let mut one = Client::connect_from(&server, "same", A);
    let mut two = Client::connect_from(&server, "same", B);
    let file = one.file(&site);
    assert_eq!(one.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(two.lock(&file, 1, (1, 1), EXCLUSIVE), Stat::Granted);
    let which = "cleat: that is 2 clients, say which: same@127.0.0.2 same@127.0.0.3";
    refused(&site, &["locks", "clear", "--client", "same"], 1, which);
    let id = "00000000-0000-4000-8000-000000000000";
    let none = format!("cleat: no lock or waiting request has the id {id}");
    refused(&site, &["locks", "clear", "--id", id], 1, &none);
    let short = "cleat: an id is 8 or more digits of those in the list";
    for id in ["4", "0123456", "not-an-id", ""] {
        refused(&site, &["locks", "clear", "--id", id], 1, short);
    }
    let what = "cleat: say what to clear: --client, --file or --id; see cleat --help";
    refused(&site, &["locks", "clear"], 2, what);
    let listed = json(&site, &["locks", "--client", "same@127.0.0.3"]);
    let id = rows(&listed)[0]["id"].as_str().expect("an id");
    let one = "cleat: --id names one lock: leave out --client and --file; see cleat --help";
    for words in [
        ["locks", "--client", "same@127.0.0.2", "clear", "--id", id],
        ["locks", "clear", "--id", id, "--client", "same@127.0.0.3"],
        ["locks", "--file", "/", "clear", "--id", id],
    ] {
        refused(&site, &words, 2, one);
    }
    assert_eq!(rows(&json(&site, &["locks"])).len(), 2);
}

#[test]
fn what_a_killed_server_left_is_listed_with_its_path_and_grace_can_be_ended() {
    let site = Site::new();
    let server = site.serve();
    drop(hold_and_wait(&site, &server));
    server.kill();
    let none = format!(
        "cleat: no server runs on state directory {}; give the one it has with --state-dir",
        state_dir(&site).display()
    );
    refused(&site, &["locks"], 1, &none);
    let server = site.serve_with(&["--grace-s", "3000"]);
    // No client has spoken since.
    let listed = json(&site, &["locks"]);
    let states: Vec<(&str, &str)> = rows(&listed)
        .iter()
        .map(|row| (row["client"].as_str().expect("text"), row["state"].as_str().expect("text")))
        .collect();
    assert_eq!(states, [("b@127.0.0.3", "waiting"), ("a@127.0.0.2", "unreclaimed")]);
    let path = real(&site.export.join("file"));
    assert!(rows(&listed).iter().all(|row| row["path"] == path));
    let clients = json(&site, &["clients"]);
    let left: Vec<&Value> = rows(&clients).iter().map(|row| &row["unreclaimed"]).collect();
    assert_eq!(left, [&Value::from(1), &Value::from(0)], "{clients}");
    let grace = &json(&site, &["status"])["grace"];
    assert_eq!((&grace["unreclaimed"], &grace["early_end"]), (&1.into(), &true.into()));
    assert!(grace["left_ms"].as_u64().is_some_and(|left_ms| left_ms > 2_000_000));

    let mut b = Client::connect_from(&server, "b", B);
    let file = b.file(&site);
    assert_eq!(b.lock(&file, 1, (100, 1), EXCLUSIVE), Stat::DeniedGracePeriod);
    let ended = "grace ended: 0 locks were reclaimed, 0 dropped, 1 kept for clients out of reach\n";
    assert_eq!(cleat(&site, &["grace", "end"]), ended);
    assert_eq!(b.lock(&file, 1, (0, 4), EXCLUSIVE), Stat::Denied);
    assert_eq!(b.lock(&file, 1, (100, 1), EXCLUSIVE), Stat::Granted);
    refused(&site, &["grace", "end"], 1, "cleat: no grace window is open");
    assert!(json(&site, &["status"])["grace"].is_null());
}

#[test]
fn a_deleted_file_is_told_as_deleted() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    assert_eq!(a.lock(&file, 7, (0, 10), EXCLUSIVE), Stat::Granted);
    std::fs::remove_file(site.export.join("file")).expect("removed");
    let listed = json(&site, &["locks"]);
    assert_eq!(rows(&listed)[0]["deleted"], true);
    assert!(cleat(&site, &["locks"]).contains("(deleted)"));
    assert!(cleat(&site, &["locks", "clear", "--client", "a"]).contains("released 1 lock"));
}

#[test]
fn names_tell_a_terminal_nothing() {
    let site = Site::new();
    let server = site.serve();
    std::fs::write(site.export.join("\x1b[2J\n"), "").expect("a file");
    let mut a = Client::connect_from(&server, "\x1b]0;owned\x07", A);
    let root = a.mount(&site.export).expect("mounted");
    let file = a.lookup(&root, "\x1b[2J\n").expect("found");
    assert_eq!(a.lock(&file, 7, (0, 10), EXCLUSIVE), Stat::Granted);
    for arguments in [&["locks"][..], &["clients"]] {
        let told = cleat(&site, arguments);
        assert!(told.bytes().all(|byte| byte == b'\n' || (32..127).contains(&byte)), "{told:?}");
        assert!(told.contains("%1b%5d0%3bowned%07@127.0.0.2"), "{told}");
    }
    assert!(cleat(&site, &["locks"]).contains("/\\u{1b}[2J\\n\n"));
    assert_eq!(json(&site, &["clients"])[0]["name"], "\x1b]0;owned\x07");
}

#[test]
fn status_counts_what_happens() {
    let site = Site::new();
    let server = site.serve();
    let (mut a, mut b, file) = hold_and_wait(&site, &server);
    assert_eq!(b.lock(&file, 9, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.unlock(&file, 7, (0, 10)), Stat::Granted);
    let status = json(&site, &["status"]);
    let (now, since) = (&status["now"], &status["since_start"]);
    assert_eq!(
        (&now["locks"], &now["waiting"], &now["clients"]),
        (&1.into(), &0.into(), &2.into())
    );
    for (name, count) in [("granted", 1), ("blocked", 1), ("refused_conflict", 1)] {
        assert_eq!(since[name], count, "{name}: {status}");
    }
    assert_eq!((&since["granted_waited"], &status["waits"]["count"]), (&1.into(), &1.into()));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], server.id());
    assert!(status["duplicates"]["answers"].as_u64().is_some_and(|answers| answers >= 4));
    let text = cleat(&site, &["status"]);
    for line in ["1 refused conflict", "closed", "1 locks", "answers kept"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// Sends bytes to the socket and reads all that comes back.
fn raw(site: &Site, request: &[u8]) -> Vec<Value> {
    let mut stream = UnixStream::connect(state_dir(site).join("admin.sock")).expect("connected");
    // It may be refused before it is sent whole.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn what_is_no_request_gets_an_error_and_the_next_is_served() {
    let site = Site::new();
    let _server = site.serve();
    let long = [b"\"".to_vec(), vec![b'a'; 1 << 20], b"\"\n".to_vec()].concat();
    let deep = ["[".repeat(20_000).into_bytes(), b"\n".to_vec()].concat();
    for request in [
        &b""[..],
        b"\n",
        b"\"status\"",
        b"{\"status\":1}\n",
        b"\"shutdown\"\n",
        b"{\"locks\":{\"path\":\"/\"}}\n",
        b"{\"clear\":{\"all\":{}}}\n",
        b"\xff\xfe\n",
        &long,
        &deep,
    ] {
        let answers = raw(&site, request);
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]);
        assert_eq!(answers.len(), 1, "{shown}: {answers:?}");
        assert!(answers[0]["error"].is_string(), "{shown}: {answers:?}");
    }
    let answers = raw(&site, b"\"status\"\n");
    assert!(answers[0]["status"].is_object() && answers[1] == "end", "{answers:?}");
}

#[test]
fn those_who_say_nothing_keep_nobody_out_for_long() {
    let site = Site::new();
    let _server = site.serve();
    let connect = || UnixStream::connect(state_dir(&site).join("admin.sock")).expect("connected");
    let silent: Vec<UnixStream> = (0..16).map(|_| connect()).collect();
    let one_more = raw(&site, b"\"status\"\n");
    assert_eq!(one_more[0]["error"], "too many others ask at this moment");
    // In time they are told that nothing came, and others are served.
    let mut told = String::new();
    (&silent[0]).read_to_string(&mut told).expect("an answer");
    assert_eq!(told, "{\"error\":\"no request came\"}\n");
    until(SOON, true, || raw(&site, b"\"status\"\n")[0]["status"].is_object());
}

#[test]
fn the_socket_is_its_owners_alone() {
    let site = Site::new();
    let server = site.serve();
    let socket = state_dir(&site).join("admin.sock");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&state_dir(&site)), mode(&socket)), (0o700, 0o600));
    if is_root("another user's command") {
        use std::os::unix::process::CommandExt;
        let nobody = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cleat"));
            command.args(["status", "--state-dir"]).arg(state_dir(&site)).uid(65_534).gid(65_534);
            let output = command.output();
            // Where the build is in root's own directories nobody cannot even start it.
            output.ok().map(|o| (o.status.code(), String::from_utf8_lossy(&o.stderr).into_owned()))
        };
        let ends = "only root and the user who runs the server may ask it\n";
        let refused = |said: Option<(Option<i32>, String)>| {
            assert!(said.is_none_or(|(code, text)| code == Some(1) && text.ends_with(ends)));
        };
        refused(nobody());
        // Whoever opens every door is told by the server itself.
        for path in [site.path(), &state_dir(&site), &socket] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("opened");
        }
        refused(nobody());
    }
    assert_eq!(server.terminate().code(), Some(0));
    assert!(!socket.exists());
}

/// Puts so many locks of `a` on record, one for each process of its, as a server that was killed
/// would have left them.
fn record_locks(site: &Site, count: u32) {
    use cleat::vfs::FileSystem;
    use cleat::vfs::local::{LocalFs, LocalOptions, MemoryHandleTable};
    let table = Arc::new(MemoryHandleTable::default());
    let fs = LocalFs::open(&site.export, table, LocalOptions::default()).expect("an export");
    let identity = fs.identity_at(&site.export.join("file")).expect("a file").expect("in it");
    let origin = Origin::new(b"a", A, Ipv4Addr::LOCALHOST.into(), Transport::Tcp);
    let ops: Vec<RecordOp> = (0..count)
        .map(|svid| {
            let owner = Owner {
                owner_id: origin.owner_id(svid).into(),
                client_id: origin.client_id().into(),
                share_name: "".into(),
                note: Note { svid, oh: b"owner" }.to_bytes().into(),
            };
            RecordOp::Put(Record::Lock(LockRecord {
                id: LockId::new(uuid::Uuid::from_u128(u128::from(svid) + 1)),
                owner,
                file: FileId::new(identity.0.clone()),
                range: Range::new(u64::from(svid), 1).expect("a range"),
                mode: Mode::Exclusive,
                incarnation: 1,
                acquired_ms: 1,
                blocking: false,
                reclaim: false,
            }))
        })
        .collect();
    let (store, _) = cleat::store::Store::open(&state_dir(site)).expect("a store");
    store.new_instance(false).expect("an instance");
    store.settle().expect("settled");
    store.commit(&ops, Durability::Process).expect("committed");
}

#[test]
fn a_listing_of_a_hundred_thousand_locks_and_lock_traffic_go_on_at_once() {
    const LOCKS: u32 = 100_000;
    const TAKEN: u32 = 50;
    let site = Site::new();
    record_locks(&site, LOCKS);
    let server = site.serve_with(&["--grace-s", "3000"]);
    let mut a = Client::connect_from(&server, "a", A);
    let file = a.file(&site);
    // The listing stands still halfway, because nobody reads on.
    let mut stream = UnixStream::connect(state_dir(&site).join("admin.sock")).expect("connected");
    stream.write_all(b"{\"locks\":{}}\n").expect("asked");
    let mut lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let first: Vec<String> = lines.by_ref().take(10).collect();
    for svid in 0..TAKEN {
        // What was listed already.
        assert_eq!(a.lock(&file, svid, (svid.into(), 1), RECLAIM), Stat::Granted);
        assert_eq!(a.unlock(&file, svid, (svid.into(), 1)), Stat::Granted);
    }
    for svid in LOCKS - TAKEN..LOCKS {
        // What was not.
        assert_eq!(a.unlock(&file, svid, (svid.into(), 1)), Stat::Granted);
    }
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest.last().map(String::as_str), Some("\"end\""));
    let svid = |line: &String| -> u64 {
        let (_, after) = line.split_once("\"svid\":").expect("a process");
        let (number, _) = after.split_once(',').expect("more");
        number.parse().expect("a number")
    };
    let mut svids: Vec<u64> = first.iter().chain(&rest[..rest.len() - 1]).map(svid).collect();
    svids.sort_unstable();
    let listed = svids.len();
    svids.dedup();
    assert_eq!(svids.len(), listed, "nothing is listed twice");
    // What was held throughout is there.
    let throughout = u64::from(TAKEN)..u64::from(LOCKS - TAKEN);
    assert!(throughout.into_iter().all(|svid| svids.binary_search(&svid).is_ok()));
    assert!(listed < LOCKS as usize, "it went on while locks were released");

    let left = (LOCKS - 2 * TAKEN) as usize;
    let told = cleat(&site, &["locks", "clear", "--client", "a"]);
    assert!(told.ends_with(&format!("... and {} more\nreleased {left} locks\n", left - 100)));
    assert!(server.log().contains(&format!(", and {} more", left - 8)));
}

#[test]
fn each_of_many_locks_has_its_line() {
    const LOCKS: u32 = 3_000;
    let site = Site::new();
    record_locks(&site, LOCKS);
    let _server = site.serve();
    // And one for the file, and one for the columns.
    assert_eq!(cleat(&site, &["locks"]).lines().count(), LOCKS as usize + 2);
}

#[test]
fn others_are_answered_in_the_middle_of_a_large_clear() {
    const LOCKS: u32 = 50_000;
    for target in ["--client", "--file"] {
        let site = Site::new();
        record_locks(&site, LOCKS);
        let server = site.serve_with(&["--recovery", "instant"]);
        let mut b = Client::connect_from(&server, "b", B);
        let file = b.file(&site);
        let path = real(&site.export.join("file"));
        let what = if target == "--file" { &path } else { "a" };
        let mut is_free = |svid: u32| b.test(&file, 1, (svid.into(), 1), true) == Ok(Stat::Granted);
        assert!(!is_free(0) && !is_free(LOCKS - 1));
        let (told, seen_halfway) = std::thread::scope(|scope| {
            let clear = scope.spawn(|| cleat(&site, &["locks", "clear", target, what]));
            // In this order: what is held now was held when the other was asked for.
            let (mut first_is_free, mut halfway) = (false, false);
            while !clear.is_finished() && !halfway {
                first_is_free = first_is_free || is_free(0);
                halfway = first_is_free && !is_free(LOCKS - 1);
            }
            (clear.join().expect("told"), halfway)
        });
        assert!(seen_halfway, "somebody saw the first lock free and the last one held");
        let left = LOCKS - 100;
        assert!(
            told.ends_with(&format!("... and {left} more\nreleased {LOCKS} locks\n")),
            "{told}"
        );
        assert_eq!(cleat(&site, &["locks"]), "no locks\n");
    }
}
