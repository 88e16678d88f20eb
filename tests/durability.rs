//! What a client was told is done is on storage: every procedure that RFC 1813 1.3 and 4.8 have on
//! stable storage before its answer is watched by strace(1), which sees each sync of the server
//! before the answer of the call that asked for it is here.

mod harness;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::nfs::{at, handle, mode, result};
use harness::{Client, Server, Site, is_root};
use nfs3_types::nfs3::{
    CREATE3args, LINK3args, MKDIR3args, MKNOD3args, Nfs3Option, RENAME3args, SETATTR3args,
    SYMLINK3args, WRITE3args, WRITE3res, createhow3, createverf3, mknoddata3, nfsstat3, sattr3,
    stable_how, symlinkdata3,
};
use nfs3_types::xdr_codec::{Opaque, Pack};

const SETATTR: u32 = 2;
const WRITE: u32 = 7;
const CREATE: u32 = 8;
const MKDIR: u32 = 9;
const SYMLINK: u32 = 10;
const MKNOD: u32 = 11;
const REMOVE: u32 = 12;
const RMDIR: u32 = 13;
const RENAME: u32 = 14;
const LINK: u32 = 15;

/// Longer than strace needs to attach.
const SOON: Duration = Duration::from_secs(20);

/// A server whose syncs are seen.
struct Watched {
    _server: Server,
    strace: Child,
    output: PathBuf,
    read: usize,
}

impl Watched {
    fn new(site: &Site) -> Self {
        let server = site.serve();
        let output = site.path().join("strace");
        let calls = "trace=fsync,fdatasync,syncfs,pwritev2,sync_file_range";
        let strace = Command::new("strace")
            .args(["-f", "-y", "-qq", "-e", calls, "-e", "signal=none", "-o"])
            .arg(&output)
            .args(["-p", &server.id().to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace");
        let traced = format!("TracerPid:\t{}", strace.id());
        let all_traced = || {
            let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("tasks");
            tasks.map(|task| task.expect("a task").path().join("status")).all(|status| {
                std::fs::read_to_string(status).is_ok_and(|status| status.contains(&traced))
            })
        };
        let start = Instant::now();
        while !all_traced() {
            assert!(start.elapsed() < SOON, "strace attaches");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { _server: server, strace, output, read: 0 }
    }

    /// What was synced since the last time, by its path below the export, in order; of a write the
    /// flag that had it stored.
    fn synced(&mut self) -> Vec<String> {
        let all = std::fs::read_to_string(&self.output).expect("what strace saw");
        let new = all[self.read..].to_owned();
        self.read = all.len();
        let path_of = |line: &str| Some(line.split_once('<')?.1.split_once('>')?.0.to_owned());
        let synced = |line: &str| {
            let call = line.split_once(' ')?.1.trim_start();
            let path = path_of(call)?;
            match call.split_once('(')?.0 {
                "fsync" if call.ends_with("= 0") => Some(path),
                "pwritev2" if call.contains("RWF_DSYNC") => Some(format!("{path} DSYNC")),
                "pwritev2" if call.contains("RWF_SYNC") => Some(format!("{path} SYNC")),
                "syncfs" if call.ends_with("= 0") => Some("all".to_owned()),
                _ => None,
            }
        };
        // The state directory has syncs of its own.
        new.lines().filter_map(synced).filter(|path| !path.contains("/state/")).collect()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// The path that strace shows of something in the export: the server serves it from a mount of its
/// own.
fn shown(name: &str) -> String {
    format!("/{name}")
}

struct Lab {
    watched: Watched,
    client: Client,
}

impl Lab {
    /// Makes a call, which succeeds, and compares what was synced for it.
    fn call(&mut self, procedure: u32, arguments: &impl Pack, expected: &[&str]) {
        assert_eq!(self.client.status(procedure, arguments), nfsstat3::NFS3_OK, "{procedure}");
        self.expect(procedure, expected);
    }

    fn expect(&mut self, procedure: u32, expected: &[&str]) {
        let expected: Vec<String> = expected
            .iter()
            .map(|name| if *name == "all" { "all".into() } else { shown(name) })
            .collect();
        let mut synced = self.watched.synced();
        synced.dedup();
        assert_eq!(synced, expected, "procedure {procedure}");
    }
}

fn lab(site: &Site) -> Option<(Lab, Vec<u8>)> {
    if !is_root("strace of a server") {
        return None;
    }
    let mut watched = Watched::new(site);
    let address = watched._server.address;
    let mut client = Client::connect_to(address, "a", [127, 0, 0, 2].into());
    let root = client.mount(&site.export).expect("mounted");
    watched.synced();
    Some((Lab { watched, client }, root))
}

fn directory(client: &mut Client, site: &Site, name: &str) -> Vec<u8> {
    std::fs::create_dir(site.export.join(name)).expect("made");
    let root = client.mount(&site.export).expect("mounted");
    client.lookup(&root, name).expect("found")
}

#[test]
fn what_makes_names_syncs_the_directory_and_what_was_set() {
    let site = Site::new();
    let Some((mut lab, root)) = lab(&site) else { return };
    let make = |name, how| CREATE3args { where_: at(&root, name), how };
    lab.call(CREATE, &make("one", createhow3::UNCHECKED(mode(0o600))), &[""]);
    lab.call(CREATE, &make("two", createhow3::GUARDED(mode(0o600))), &[""]);
    // Its verifier must be there as well.
    let exclusive = createhow3::EXCLUSIVE(createverf3(*b"verifier"));
    lab.call(CREATE, &make("three", exclusive), &["three", ""]);
    let emptied = sattr3 { size: Nfs3Option::Some(0), ..sattr3::default() };
    lab.call(CREATE, &make("one", createhow3::UNCHECKED(emptied)), &["one"]);
    let args = MKDIR3args { where_: at(&root, "dir"), attributes: mode(0o755) };
    lab.call(MKDIR, &args, &[""]);
    let symlink =
        symlinkdata3 { symlink_attributes: sattr3::default(), symlink_data: b"to"[..].into() };
    lab.call(SYMLINK, &SYMLINK3args { where_: at(&root, "link"), symlink }, &[""]);
    let what = mknoddata3::NF3FIFO(mode(0o600));
    lab.call(MKNOD, &MKNOD3args { where_: at(&root, "fifo"), what }, &[""]);
    let file = lab.client.lookup(&root, "file").expect("found");
    let args = LINK3args { file: handle(&file), link: at(&root, "hard") };
    lab.call(LINK, &args, &["", "file"]);
}

#[test]
fn what_takes_names_away_or_moves_them_syncs_the_directories() {
    let site = Site::new();
    let Some((mut lab, root)) = lab(&site) else { return };
    let [from, to] = ["from", "to"].map(|name| directory(&mut lab.client, &site, name));
    directory(&mut lab.client, &site, "empty");
    for name in ["a", "b", "c"] {
        std::fs::write(site.export.join("from").join(name), b"").expect("written");
    }
    lab.watched.synced();
    lab.call(REMOVE, &at(&from, "a"), &["from"]);
    lab.call(RMDIR, &at(&root, "empty"), &[""]);
    lab.call(RENAME, &RENAME3args { from: at(&from, "b"), to: at(&from, "d") }, &["from"]);
    // Where it is found in both after a loss of power it is lost nowhere.
    lab.call(RENAME, &RENAME3args { from: at(&from, "d"), to: at(&to, "d") }, &["to", "from"]);
}

#[test]
fn what_sets_attributes_syncs_them() {
    let site = Site::new();
    let Some((mut lab, root)) = lab(&site) else { return };
    let dir = directory(&mut lab.client, &site, "dir");
    std::os::unix::fs::symlink("to", site.export.join("link")).expect("made");
    let file = lab.client.lookup(&root, "file").expect("found");
    let link = lab.client.lookup(&root, "link").expect("found");
    lab.watched.synced();
    let set = |file: &[u8], new_attributes| SETATTR3args {
        object: handle(file),
        new_attributes,
        guard: Nfs3Option::None,
    };
    lab.call(SETATTR, &set(&file, mode(0o600)), &["file"]);
    lab.call(SETATTR, &set(&dir, mode(0o700)), &["dir"]);
    // It cannot be opened to be synced.
    let owner = sattr3 { uid: Nfs3Option::Some(7), ..sattr3::default() };
    lab.call(SETATTR, &set(&link, owner), &["all"]);
}

#[test]
fn what_is_written_is_as_stable_as_was_asked() {
    let site = Site::new();
    let Some((mut lab, root)) = lab(&site) else { return };
    let file = lab.client.lookup(&root, "file").expect("found");
    lab.watched.synced();
    for (stable, expected) in [
        (stable_how::UNSTABLE, &[][..]),
        (stable_how::DATA_SYNC, &["file DSYNC"]),
        (stable_how::FILE_SYNC, &["file SYNC"]),
    ] {
        let data = Opaque::borrowed(b"hello");
        let args = WRITE3args { file: handle(&file), offset: 0, count: 5, stable, data };
        let written = result(lab.client.nfs::<WRITE3res>(WRITE, &args)).expect("written");
        assert_eq!(written.committed, stable);
        lab.expect(WRITE, expected);
    }
    lab.client.commit(&file).expect("committed");
    lab.expect(21, &["file"]);
}
