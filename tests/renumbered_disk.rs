//! A disk that comes back as another device: its locks are its owners' still. Needs root.

mod harness;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use cleat_nlm::wire::Stat;
use harness::{Client, EXCLUSIVE, RECLAIM, Site, is_root};

/// More than mkfs of any of these wants.
const IMAGE_BYTES: u64 = 512 << 20;

/// A file system in a file, mounted by a loop device.
struct Disk {
    image: PathBuf,
    mounted: PathBuf,
    /// Loop devices that are in the way of the next.
    taken: Vec<String>,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

impl Disk {
    fn new(at: &Path, mkfs: &[&str]) -> Self {
        let disk = Self { image: at.join("image"), mounted: at.join("disk"), taken: Vec::new() };
        std::fs::create_dir(&disk.mounted).expect("made");
        File::create(&disk.image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("an image");
        run(mkfs[0], &[&mkfs[1..], &[text(&disk.image)]].concat());
        disk.mount();
        std::fs::write(disk.mounted.join("file"), "content").expect("written");
        disk
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", text(&self.image), text(&self.mounted)]);
    }

    /// Unmounts it and mounts it again, by another loop device.
    fn come_back(&mut self) {
        let before = self.loop_device();
        let other = self.image.with_extension("other");
        File::create(&other).and_then(|file| file.set_len(1 << 20)).expect("an image");
        while self.loop_device() == before {
            run("umount", &[text(&self.mounted)]);
            self.taken.push(run("losetup", &["--find", "--show", text(&other)]));
            self.mount();
        }
    }

    fn loop_device(&self) -> String {
        run("findmnt", &["--noheadings", "--output", "SOURCE", text(&self.mounted)])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.mounted).status();
        for device in &self.taken {
            let _ = Command::new("losetup").args(["--detach", device]).status();
        }
    }
}

fn a_lock_stays_its_owners(mkfs: &[&str]) {
    if !is_root("a file system on a loop device") {
        return;
    }
    let site = Site::new();
    let mut disk = Disk::new(site.path(), mkfs);
    let export = format!("{}:rw,no_root_squash", disk.mounted.display());
    let arguments = ["--export", &export, "--recovery", "instant"];
    let server = site.serve_with(&arguments);
    let mut a = Client::connect(&server, "a");
    let root = a.mount(&disk.mounted).expect("mounted");
    let file = a.lookup(&root, "file").expect("found");
    let fsid = a.getattr(&file).expect("attributes").fsid;
    assert_eq!(a.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
    server.kill();
    disk.come_back();

    // The handle is good still, and so is the lock.
    let server = site.serve_with(&arguments);
    let [mut a, mut b] = ["a", "b"].map(|name| Client::connect(&server, name));
    assert_eq!(a.getattr(&file).expect("attributes").fsid, fsid);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Denied);
    assert_eq!(a.lock(&file, 1, (0, 10), RECLAIM), Stat::Granted);
    assert_eq!(a.unlock(&file, 1, (0, 10)), Stat::Granted);
    assert_eq!(b.lock(&file, 1, (0, 10), EXCLUSIVE), Stat::Granted);
}

#[test]
fn on_xfs_a_lock_stays_its_owners() {
    a_lock_stays_its_owners(&["mkfs.xfs", "-q", "-f"]);
}

#[test]
fn on_btrfs_a_lock_stays_its_owners() {
    a_lock_stays_its_owners(&["mkfs.btrfs", "-q", "-f"]);
}

#[test]
fn on_ext4_a_lock_stays_its_owners() {
    a_lock_stays_its_owners(&["mkfs.ext4", "-q", "-F"]);
}
