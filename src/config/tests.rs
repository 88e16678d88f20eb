//! What people read when a configuration is wrong, and what comes of one that is right.

use super::*;
use std::ffi::OsStr;

/// Judges a file's text in a scratch directory that stands for `DIR` in it, and in which `DIR/a`
/// and `DIR/b` are directories, `DIR/file` is a file and `DIR/link` a symbolic link to `DIR/a`.
fn judge(text: &str) -> Result<Config, String> {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().canonicalize().expect("its path");
    let shown = dir.display().to_string();
    for name in ["a", "b"] {
        std::fs::create_dir(dir.join(name)).expect(name);
    }
    std::fs::write(dir.join("file"), "").expect("a file");
    std::os::unix::fs::symlink(dir.join("a"), dir.join("link")).expect("a link");
    let mut mistakes = Mistakes::default();
    let draft = file::parse("c.toml", &text.replace("DIR", &shown), &mut mistakes);
    Config::judge(draft, mistakes).map_err(|mistakes| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&shown, "DIR")
    })
}

/// A file that is right but for one line, whose mistake stands on line 1.
fn with(line: &str) -> Result<Config, String> {
    judge(&format!("{line}\n[[export]]\npath = \"DIR/a\"\nclients = {{ \"*\" = \"ro\" }}\n"))
}

#[test]
fn a_whole_file_is_read() {
    let config = judge(
        r#"
        listen = ["192.0.2.1", "[2001:db8::1]:20490"]
        state_dir = "DIR/state"
        grace_s = 30
        recovery = "instant"
        unreachable_hold_s = 0
        client_lease_s = 45
        unreachable_grant_s = 30
        fair_wait_s = 0
        durability = "power"
        rpcbind = "embedded"
        notify_names = ["nas.example.org", "nas"]
        log = "warn,cleat::nfs=debug"
        [limits]
        locks_per_file = 1_000
        clients = 7
        connections = 40
        connection_idle_s = 60
        connections_of_strangers = 5
        [[export]]
        path = "DIR/a"
        clients = { "10.0.0.0/8" = "rw,no_root_squash", "*" = "ro" }
        [[export]]
        path = "DIR/b"
        [export.clients]
        "2001:db8::/32" = "rw"
        "#,
    )
    .expect("it is right");
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["192.0.2.1:2049", "[2001:db8::1]:20490"]);
    assert!(config.state_dir.ends_with("state"));
    assert_eq!(config.grace, Duration::from_secs(30));
    assert_eq!((config.durability, config.rpcbind), (Durability::Power, Rpcbind::Embedded));
    assert_eq!((config.recovery, config.unreachable_hold), (Recovery::Instant, Duration::ZERO));
    assert_eq!(config.client_lease, Some(Duration::from_secs(45)));
    assert_eq!(config.fair_wait, Duration::ZERO);
    assert_eq!(config.unreachable_grant, Some(Duration::from_secs(30)));
    let limits = Limits { locks_per_file: 1_000, clients: 7, ..Limits::default() };
    assert_eq!(config.limits, limits);
    let (per_host, strangers, idle) = (10, 5, Duration::from_secs(60));
    assert_eq!(config.connections, ConnectionLimits { all: 40, per_host, strangers, idle });
    assert_eq!(config.notify_names, ["nas.example.org", "nas"]);
    assert_eq!((config.log.as_str(), config.exports.len()), ("warn,cleat::nfs=debug", 2));
    let rules = config.exports.get(0).expect("an export").clients();
    assert_eq!((rules.len(), rules[0].options.read_only), (2, false));
}

#[test]
fn what_is_not_said_has_a_default() {
    let config = with("").expect("it is right");
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["0.0.0.0:2049", "[::]:2049"]);
    assert_eq!(config.grace, Duration::from_secs(90));
    assert_eq!((config.durability, config.rpcbind), (Durability::Process, Rpcbind::Auto));
    assert_eq!((config.recovery, config.client_lease), (Recovery::Strict, None));
    assert_eq!(config.unreachable_hold, Duration::from_secs(600));
    assert_eq!(config.fair_wait, Duration::from_secs(5));
    assert_eq!(config.unreachable_grant, Some(Duration::from_secs(60)));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.connections, ConnectionLimits::new(1024));
    assert_eq!((config.connections.per_host, config.connections.strangers), (256, 64));
    assert_eq!(config.notify_names, [""; 0]);
    assert_eq!(config.log, "info");
}

#[test]
fn each_mistake_has_its_line_key_and_mend() {
    let table = [
        (
            "listne = []",
            "c.toml:1: listne: no such key; the keys are listen, state_dir, grace_s, recovery, \
             unreachable_hold_s, client_lease_s, unreachable_grant_s, fair_wait_s, durability, \
             rpcbind, notify_names, log, [limits], [[export]]",
        ),
        ("listen = []", "c.toml:1: listen: of type array; write a list of strings: [\"*:2049\"]"),
        (
            "listen = \"*\"",
            "c.toml:1: listen: of type string; write a list of strings: [\"*:2049\"]",
        ),
        (
            "listen = [\"host\"]",
            "c.toml:1: listen: \"host\" is no address to listen on; write *:2049, 192.0.2.1:2049 \
             or [2001:db8::1]:2049",
        ),
        (
            "listen = [\"*\", \"127.0.0.1\"]",
            "c.toml:1: listen: 127.0.0.1:2049 and 0.0.0.0:2049 overlap; leave one of them out",
        ),
        (
            "state_dir = \"state\"",
            "c.toml:1: state_dir: \"state\" is not absolute; begin it with \"/\"",
        ),
        (
            "state_dir = \"DIR/a/deep/er\"",
            "c.toml:1: state_dir: DIR/a/deep/er is inside the export DIR/a, where clients could \
             change it; put it elsewhere with state_dir or --state-dir",
        ),
        (
            "state_dir = \"DIR/link/deep\"",
            "c.toml:1: state_dir: DIR/link/deep is inside the export DIR/a, where clients could \
             change it; put it elsewhere with state_dir or --state-dir",
        ),
        ("state_dir = \"DIR/file\"", "c.toml:1: state_dir: DIR/file is no directory; name another"),
        ("grace_s = 0", "c.toml:1: grace_s: \"0\" is not from 1 to 3600; write seconds, as 90"),
        ("grace_s = \"90\"", "c.toml:1: grace_s: of type string; write a whole number"),
        ("grace_s = 1.5", "c.toml:1: grace_s: of type float; write a whole number"),
        (
            "durability = \"fast\"",
            "c.toml:1: durability: \"fast\" is not a durability; write process or power",
        ),
        (
            "rpcbind = \"on\"",
            "c.toml:1: rpcbind: \"on\" is no way to use rpcbind; write auto, system, embedded or \
             off",
        ),
        ("rpcbind = true", "c.toml:1: rpcbind: of type boolean; write a string in quotes"),
        (
            "log = \"infoo\"",
            "c.toml:1: log: \"infoo\" is no level; write off, error, warn, info, debug or trace, \
             or TARGET=LEVEL",
        ),
        ("log = info", "c.toml:1: info stands bare; write \"info\""),
        ("state_dir = /a # b", "c.toml:1: /a stands bare; write \"/a\""),
        (
            "log =\ngrace_s = 90",
            "c.toml:1: not TOML: string values must be quoted, expected literal string; MEND",
        ),
        ("log = \"info\"\nlog = \"warn\"", "c.toml:2: not TOML: duplicate key; MEND"),
        (
            "log = \"info\ngrace_s = 5",
            "c.toml:1: not TOML: invalid basic string, expected `\"`; MEND",
        ),
    ];
    for (line, message) in table {
        let mend = "write each key once, as KEY = VALUE, and strings in \"quotes\"";
        assert_eq!(with(line).expect_err(line), message.replace("MEND", mend), "{line}");
    }
}

#[test]
fn each_mistake_in_an_export_has_its_line_key_and_mend() {
    let table = [
        ("", "export (default): nothing to serve; give --export DIR, or [[export]] in a file"),
        (
            "[export]\npath = \"DIR/a\"",
            "c.toml:1: export: it is a list of tables; begin each with a line [[export]]",
        ),
        (
            "[[export]]",
            "c.toml:1: export: no clients; add clients = { \"*\" = \"ro\" } or narrower\n\
             c.toml:1: export: no path; add path = \"/the/directory\"",
        ),
        (
            "[[export]]\npath = \"DIR/a\"\nclients = \"*\"",
            "c.toml:3: export.clients: it says who and how; write clients = { \"192.0.2.0/24\" = \
             \"rw\" }",
        ),
        (
            "[[export]]\npath = \"DIR/none\"\nclients = { \"*\" = \"ro\" }",
            "c.toml:2: export.path: DIR/none does not exist; make it, or mend the path",
        ),
        (
            "[[export]]\npath = \"DIR/file\"\nclients = { \"*\" = \"ro\" }",
            "c.toml:2: export.path: DIR/file is no directory; export one",
        ),
        (
            "[[export]]\npath = \"DIR/a/../b\"\nclients = { \"*\" = \"ro\" }",
            "c.toml:2: export.path: an export's path begins with \"/\", has no \"..\" in it and at \
             most 1024 bytes",
        ),
        (
            "[[export]]\npath = \"DIR/a\"\nread_only = true\nclients = { \"*\" = \"ro\" }",
            "c.toml:3: export.read_only: no such key; the keys are path, clients",
        ),
        (
            "[[export]]\npath = \"DIR/a\"\n[export.clients]\n\"*\" = \"rw,async\"\nhost = \"ro\"",
            "c.toml:4: export.clients: \"async\" is not an option here; leave it out: a client \
             that may lose writes mounts with its own async option, and this server never answers \
             before a write is as stable as the client asked\n\
             c.toml:5: export.clients: \"host\" names no clients; write an address (192.0.2.7), a \
             network (192.0.2.0/24, 2001:db8::/32) or \"*\"",
        ),
        (
            "[[export]]\npath = \"DIR/a\"\nclients = { \"10.0.0.1\" = \"ro\", \"10.0.0.1/32\" = \
             \"rw\" }",
            "c.toml:2: export.path: two rules for the clients \"10.0.0.1\"; keep one of them",
        ),
        (
            "[[export]]\npath = \"DIR/a\"\nclients.\"*\" = \"ro\"\n[[export]]\npath = \
             \"DIR/link\"\nclients.\"*\" = \"ro\"\n[[export]]\npath = \"DIR/a/\"\nclients.\"*\" = \
             \"ro\"",
            "c.toml:5: export.path: DIR/link is the directory DIR/a, exported already; keep one of \
             them\n\
             c.toml:8: export.path: DIR/a/ is the directory DIR/a, exported already; keep one of \
             them",
        ),
    ];
    for (text, message) in table {
        assert_eq!(judge(text).expect_err(text), message, "{text}");
    }
}

#[test]
fn each_mistake_about_recovery_and_limits_has_them_too() {
    let table = [
        (
            "recovery = \"fast\"",
            "c.toml:1: recovery: \"fast\" is no way to recover; write strict or instant",
        ),
        (
            "unreachable_hold_s = -1",
            "c.toml:1: unreachable_hold_s: \"-1\" is neither 0 nor from 1 to 604800; write \
             seconds, as 600",
        ),
        (
            "client_lease_s = 4",
            "c.toml:1: client_lease_s: \"4\" is neither 0 nor from 5 to 86400; write seconds, as \
             60",
        ),
        (
            "unreachable_grant_s = 5",
            "c.toml:1: unreachable_grant_s: \"5\" is neither 0 nor from 10 to 86400; write \
             seconds, as 60",
        ),
        (
            "fair_wait_s = 61",
            "c.toml:1: fair_wait_s: \"61\" is neither 0 nor from 1 to 60; write seconds, as 5",
        ),
        ("limits = 5", "c.toml:1: limits: it is a table; begin it with a line [limits]"),
        (
            "limits = { lock_per_file = 5 }",
            "c.toml:1: limits.lock_per_file: no such key; the keys are locks_per_file, \
             locks_per_client, locks_total, waiters_per_file, waiters_per_client, shares_per_file, \
             shares_per_client, shares_total, clients, clients_per_source, claims_per_source, \
             owner_bytes_per_source, owner_bytes_total, connections, \
             connections_per_host, connections_of_strangers, connection_idle_s",
        ),
        (
            "[limits]\nconnections = 0",
            "c.toml:2: limits.connections: \"0\" is not from 1 to 100000; write a count",
        ),
        (
            "[limits]\nconnection_idle_s = 90000",
            "c.toml:2: limits.connection_idle_s: \"90000\" is not from 1 to 86400; write seconds, \
             as 900",
        ),
        (
            "[limits]\nconnections = 100\nconnections_per_host = 101",
            "c.toml:3: limits.connections_per_host: 101 is more than all connections, 100; write \
             less, or more of limits.connections",
        ),
        (
            "[limits]\nclients = 0",
            "c.toml:2: limits.clients: \"0\" is not from 1 to 1000000000; write a count",
        ),
        (
            "[limits]\nclients = \"many\"",
            "c.toml:2: limits.clients: of type string; write a whole number",
        ),
    ];
    for (line, message) in table {
        assert_eq!(with(line).expect_err(line), message, "{line}");
    }
}

#[test]
fn each_mistake_about_names_has_them_too() {
    let long = "n".repeat(NOTIFY_NAME_BYTES_MAX + 1);
    let many = format!("notify_names = {:?}", ["nas"; NOTIFY_NAMES_MAX + 1]);
    let is_none = "is no host's name; write one as clients mount it, as nas.example.org";
    let table = [
        (
            "notify_names = \"nas\"".to_owned(),
            "of type string; write a list of strings: [\"nas.example.org\"]".to_owned(),
        ),
        ("notify_names = [5]".to_owned(), "of type integer; write a string in quotes".to_owned()),
        ("notify_names = [\"\"]".to_owned(), format!("\"\" {is_none}")),
        ("notify_names = [\"a b\"]".to_owned(), format!("\"a b\" {is_none}")),
        (format!("notify_names = [{long:?}]"), format!("{long:?} {is_none}")),
        (many, "more than 8 names; leave some out".to_owned()),
    ];
    for (line, message) in table {
        let message = format!("c.toml:1: notify_names: {message}");
        assert_eq!(with(&line).expect_err(&line), message, "{line}");
    }
    let most =
        format!("notify_names = {:?}", vec!["n".repeat(NOTIFY_NAME_BYTES_MAX); NOTIFY_NAMES_MAX]);
    assert!(with(&most).is_ok() && with("notify_names = []").is_ok());
}

#[test]
fn all_mistakes_are_told_in_the_order_of_their_lines() {
    let told = judge(
        "log = \"x\"\nwrong = 1\ngrace_s = -1\n[[export]]\nclients = { a = \"b,c\" }\n[[export]]\n\
         path = 5\n",
    );
    let told = told.expect_err("it is wrong");
    let places: Vec<&str> = told.lines().filter_map(|line| line.split(": ").next()).collect();
    let expected = ["c.toml:1", "c.toml:2", "c.toml:3", "c.toml:4", "c.toml:6", "c.toml:7"];
    assert_eq!(places, expected, "{told}");
}

#[test]
fn a_mistake_is_one_line_whatever_it_quotes() {
    let told = with("log = \"a\\nb\\u001b[31m\"").expect_err("it is wrong");
    assert_eq!(told.lines().count(), 1, "{told:?}");
    assert!(!told.contains('\u{1b}'));
}

#[test]
fn flags_replace_words_and_add_exports() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("c.toml");
    let dirs = ["a", "b"].map(|name| scratch.path().join(name));
    dirs.iter().for_each(|dir| std::fs::create_dir(dir).expect("a directory"));
    let text = format!(
        "grace_s = 5\nlog = \"debug\"\n[[export]]\npath = {:?}\nclients = {{ \"*\" = \"ro\" }}\n",
        dirs[0]
    );
    std::fs::write(&path, text).expect("a file");
    let grace_s = Some(Said::new(Place::Flag("--grace-s"), "7".to_owned()));
    let mut flags = Draft { grace_s, ..Draft::default() };
    flags.add_export_flag(OsStr::new(&format!("{}:rw", dirs[1].display())));
    let config = Config::load(Some(&path), flags).expect("it is right");
    assert_eq!((config.grace.as_secs(), config.log.as_str()), (7, "debug"));
    let read_only: Vec<bool> =
        config.exports.iter().map(|export| export.clients()[0].options.read_only).collect();
    assert_eq!(read_only, [true, false]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let told = Config::load(Some(Path::new("/nonexistent/c.toml")), Draft::default());
    let told = told.expect_err("no file")[0].to_string();
    assert!(told.starts_with("/nonexistent/c.toml: cannot be read: "), "{told}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text: String) {
        let _ = file::parse("c.toml", &text, &mut Mistakes::default());
    }
}
