//! What goes over the wire in every version and form of NLM, as another's decoder reads it:
//! tshark (Debian's) must know each call and each reply, and find none of them malformed.

mod harness;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cleat_lock::Access;
use cleat_nlm::wire::{CancelArgs, Stat, TestArgs, UnlockArgs};
use cleat_nlm::{Operation, Procedure, Version};
use harness::held::{A, SERVER, SOON, Story, TEN, at};
use harness::host::own_network;
use harness::{Client, EXCLUSIVE, Site, WAIT, alock, until};

/// A capture of everything on this network, until it is stopped.
struct Capture(Child);

impl Capture {
    fn start(file: &Path) -> Self {
        let mut child = Command::new("tshark")
            .args(["-q", "-i", "lo", "-w"])
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .expect("tshark");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let begun = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Capturing on"));
        assert!(begun, "tshark captures");
        // Somebody must read what else it prints.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    fn stop(mut self) {
        let pid = i32::try_from(self.0.id()).expect("a process id");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
        self.0.wait().expect("reaped");
    }
}

/// These fields of each packet of the capture that the filter takes.
fn decoded(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    decode(file, filter, fields).unwrap_or_else(|said| panic!("{said}"))
}

/// The same, or what the decoder says of a file that it cannot read, as of one that ends in the
/// middle of a packet because the capture goes on.
fn decode(file: &Path, filter: &str, fields: &[&str]) -> Result<Vec<Vec<String>>, String> {
    let fields = fields.iter().flat_map(|field| ["-e", field]);
    let output = Command::new("tshark")
        .args(["-Y", filter, "-T", "fields", "-r"])
        .arg(file)
        .args(fields)
        .output()
        .expect("tshark");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8(output.stdout).expect("text");
    Ok(text.lines().map(|line| line.split('\t').map(Into::into).collect()).collect())
}

/// Everything that a client can say, and what follows from it.
fn session(site: &Site, story: &mut Story) {
    let Story { server, holder, file, host, .. } = story;
    for version in Version::ALL {
        for connect in [Client::connect_to, Client::over_udp] {
            let mut a = connect(at(server, SERVER[0]), "a", A);
            a.version = version;
            assert_eq!(a.test(file, 7, TEN, true), Err((1, 0, 10)));
            assert_eq!(a.lock(file, 7, TEN, WAIT), Stat::Blocked);
            assert_eq!(a.cancel(file, 7, TEN, true), Stat::Granted);
            assert_eq!(a.unlock(file, 7, TEN), Stat::Granted);
            let lock = alock("a", file, 7, TEN);
            let (cookie, exclusive) = (&b"cookie"[..], true);
            let test = TestArgs { cookie, exclusive, lock };
            a.message(Operation::Test, &test);
            assert!(host.resulted(SOON).holder.is_some());
            a.message(Operation::Lock, &a.lock_args(cookie, lock, WAIT));
            assert_eq!(host.resulted(SOON).stat, Stat::Blocked);
            a.message(Operation::Cancel, &CancelArgs { cookie, block: true, exclusive, lock });
            assert_eq!(host.resulted(SOON).stat, Stat::Granted);
            a.message(Operation::Unlock, &UnlockArgs { cookie, lock });
            assert_eq!(host.resulted(SOON).stat, Stat::Granted);
            a.message(Operation::Granted, &test);
            assert_eq!(host.resulted(SOON).stat, Stat::Denied);
            // Granted as a call, or as a message.
            assert_eq!(a.lock(file, 7, TEN, WAIT), Stat::Blocked);
            assert_eq!(holder.unlock(file, 1, TEN), Stat::Granted);
            let granted = host.granted(SOON);
            if granted.message {
                a.granted_result(&granted.cookie, Stat::Granted);
            }
            assert_eq!(a.unlock(file, 7, TEN), Stat::Granted);
            assert_eq!(holder.lock(file, 1, TEN, EXCLUSIVE), Stat::Granted);
            if version >= Version::V3 {
                let share = Some((Access::Both, Access::Read, false));
                assert_eq!(a.share(file, "p", share), Stat::Granted);
                assert_eq!(a.share(file, "p", None), Stat::Granted);
                assert_eq!(a.nm_lock(file, 7, TEN, EXCLUSIVE), Stat::Denied);
                a.free_all();
            }
        }
    }
    assert!(site.export.exists());
}

#[test]
fn another_decoder_reads_every_call_and_every_reply() {
    if Command::new("tshark").arg("-v").stdout(Stdio::null()).status().is_err() {
        eprintln!("not run: tshark is not installed");
        return;
    }
    if !own_network() {
        return;
    }
    let site = Site::new();
    let file = site.path().join("capture.pcapng");
    let capture = Capture::start(&file);
    let mut story = Story::new(&site);
    session(&site, &mut story);
    story.host.messages_only();
    session(&site, &mut story);
    // The last packets are on their way to the file.
    let replies = || decode(&file, "nlm.procedure_v4 == 23 && rpc.msgtyp == 1", &["frame.number"]);
    until(2 * SOON, true, || replies().is_ok_and(|replies| replies.len() >= 4));
    capture.stop();

    assert_eq!(decoded(&file, "_ws.malformed", &["frame.number"]), Vec::<Vec<String>>::new());
    let seen: BTreeSet<(Version, u32, &str)> = Version::ALL
        .into_iter()
        .flat_map(|version| {
            let procedure = format!("nlm.procedure_v{}", version.number());
            let packets = decoded(&file, &procedure, &[&procedure, "rpc.msgtyp"]);
            packets.into_iter().map(move |packet| {
                let number = packet[0].split(',').next().and_then(|text| text.parse().ok());
                let reply = packet[1].starts_with('1');
                (version, number.expect("a number"), if reply { "reply" } else { "call" })
            })
        })
        .collect();
    for version in Version::ALL {
        for procedure in (1..24).filter_map(|number| Procedure::of(version, number)) {
            for kind in ["call", "reply"] {
                let found = seen.contains(&(version, procedure.number(), kind));
                assert!(found, "no {kind} of {version:?} {procedure:?} was decoded");
            }
        }
    }
}
