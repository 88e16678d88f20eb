//! The log: nobody in the network can fill it.

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, Site, WAIT};

/// Lines of the log that are not rate-limited: each with its file, and a part of it. They tell of a
/// start or a stop, of this machine's rpcbind, or of what an administrator ordered.
const ONCE: [(&str, &str); 10] = [
    ("admin/answer.rs", "an administrator cleared"),
    ("admin/answer.rs", "an administrator ended grace"),
    ("lockd/driver.rs", "lock records cannot be written: stopping"),
    ("lockd/driver.rs", "cannot note that grace is over"),
    ("lockd/log.rs", ""),
    ("portmap/mod.rs", ""),
    ("server.rs", ""),
    ("statd/mod.rs", "a rpc.statd of this host could not call back"),
    ("statd/notify.rs", "telling clients that this server restarted"),
    ("vfs/local/fsid.rs", "another export has a file system of the same UUID"),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Every line that a peer's message may cause is in a `limited!`, or behind a `happens()`.
#[test]
fn no_line_is_written_at_a_peers_will() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "{} files", files.len());
    let mut checked = 0;
    for path in files {
        let text = fs::read_to_string(&path).expect("text");
        let name = path.strip_prefix(&root).expect("below").display().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if name == "seldom.rs"
                || !["info!(", "warn!(", "error!("].iter().any(|one| line.contains(one))
            {
                continue;
            }
            checked += 1;
            let here = lines[at..lines.len().min(at + 5)].join("\n");
            let limited =
                lines[at.saturating_sub(4)..at].iter().any(|one| one.contains("happens()"));
            let once = ONCE.iter().any(|(file, part)| name == *file && here.contains(part));
            assert!(limited || once, "src/{name}:{}: {line}: write it with `limited!`", at + 1);
        }
    }
    assert!(checked > 20, "{checked} lines");
}

/// Each kind of message that is worth a line, again and again: the log tells the first of each.
#[test]
fn a_flood_of_any_message_writes_few_lines() {
    const FLOOD: usize = 400;
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let mut b = Client::connect(&server, "b");
    let file = a.file(&site);
    for _ in 0..FLOOD {
        a.mount(&site.export).expect("mounted");
        a.mount(Path::new("/nowhere")).expect_err("refused");
    }
    // A new name each time: a client on record.
    for number in 0..FLOOD / 4 {
        b.name = format!("host{number}");
        assert_eq!(b.lock(&file, 7, (1000, 1), EXCLUSIVE), Stat::Granted);
        assert_eq!(b.unlock(&file, 7, (1000, 1)), Stat::Granted);
    }
    b.name = "b".into();
    // Deadlocks that are refused.
    assert_eq!(a.lock(&file, 1, (0, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(b.lock(&file, 2, (1, 1), EXCLUSIVE), Stat::Granted);
    assert_eq!(a.lock(&file, 1, (1, 1), WAIT), Stat::Blocked);
    for _ in 0..FLOOD {
        assert_eq!(b.lock(&file, 2, (0, 1), WAIT), Stat::Deadlock);
    }
    // Restarts, of a client and of nobody.
    for state in 0..i32::try_from(FLOOD / 4).expect("small") {
        a.notify("host1", 3 + 2 * state);
        a.notify("nobody", 3 + 2 * state);
    }
    let log = server.log();
    for said in ["mounted", "mount refused", "client on record", "refused: ", "SM_NOTIFY ignored"] {
        assert!(log.contains(said), "{said}");
    }
    assert!(log.contains("a client restarted"));
    let lines = log.lines().count();
    assert!(lines < 200, "{lines} lines");
}
