//! A disk that fails: an ext4 file system on a loop device whose backing has no room, so that what
//! was written cannot be stored when its time comes. Needs root.

mod harness;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::nfs::at;
use harness::{Client, Site, is_root};
use nfs3_types::nfs3::nfsstat3;

const REMOVE: u32 = 12;
const PIECE: usize = 1 << 20;
const PIECES: u64 = 8;

/// What fails as long as there is the file that takes all the room.
struct Disk {
    backing: PathBuf,
    mounted: PathBuf,
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("it starts");
    assert!(status.success(), "{program} {arguments:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

impl Disk {
    fn new(at: &Path) -> Self {
        let disk = Self { backing: at.join("backing"), mounted: at.join("mounted") };
        for directory in [&disk.backing, &disk.mounted] {
            std::fs::create_dir(directory).expect("made");
        }
        run("mount", &["-t", "tmpfs", "-o", "size=24m", "tmpfs", text(&disk.backing)]);
        let image = disk.backing.join("image");
        File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", "-m", "0", text(&image)]);
        let options = "loop,errors=continue";
        run("mount", &["-o", options, text(&image), text(&disk.mounted)]);
        std::fs::write(disk.mounted.join("file"), "content").expect("written");
        File::open(&disk.mounted).and_then(|root| root.sync_all()).expect("synced");
        run("sync", &["-f", text(&disk.mounted)]);
        disk
    }

    fn fail(&self) {
        let filler = self.backing.join("filler");
        for block in [1 << 20, 4096] {
            let zeros = vec![0; block];
            let mut file = File::options().append(true).create(true).open(&filler).expect("open");
            while std::io::Write::write_all(&mut file, &zeros).is_ok() {}
        }
    }

    fn recover(&self) {
        std::fs::remove_file(self.backing.join("filler")).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for directory in [&self.mounted, &self.backing] {
            let _ = Command::new("umount").arg("--lazy").arg(directory).status();
        }
    }
}

/// Writes all pieces unstable; the verifier of the first.
fn write(client: &mut Client, file: &[u8], byte: u8) -> [u8; 8] {
    let data = vec![byte; PIECE];
    let write = |piece: u64| client.write(file, piece * PIECE as u64, &data).expect("written");
    let verifiers: Vec<[u8; 8]> = (0..PIECES).map(write).collect();
    verifiers[0]
}

#[test]
fn a_failed_write_back_is_told_whoever_synced_the_file_meanwhile() {
    if !is_root("a disk that fails") {
        return;
    }
    let site = Site::new();
    let disk = Disk::new(site.path());
    let export = format!("{}:rw,no_root_squash", disk.mounted.display());
    let server = site.serve_with(&["--export", &export]);
    let [mut a, mut b, mut other] = ["a", "b", "c"].map(|name| Client::connect(&server, name));
    let file = {
        let root = a.mount(&disk.mounted).expect("mounted");
        a.lookup(&root, "file").expect("found")
    };
    let well = other.file(&site);
    let of_well = other.write(&well, 0, b"well").expect("written");

    let before = write(&mut a, &file, 1);
    assert_eq!(b.write(&file, 0, &[2]), Ok(before));
    disk.fail();
    // Programs of this machine sync first, and the kernel has told somebody.
    let local = disk.mounted.join("file");
    for _ in 0..2 {
        drop(File::open(&local).and_then(|file| file.sync_all()));
    }
    std::fs::write("/proc/sys/vm/drop_caches", "2").expect("dropped");
    // The first to ask is told so, and all others by the verifier.
    assert_ne!(a.commit(&file), Ok(before));
    assert_ne!(b.commit(&file), Ok(before));
    // No other export's clients have to write again.
    assert_eq!(other.commit(&well), Ok(of_well));

    disk.recover();
    // What the kernel has to say of the time before is said by the first.
    let _ = a.commit(&file);
    let again = write(&mut a, &file, 3);
    assert_ne!(again, before);
    assert_eq!(a.commit(&file), Ok(again));
    drop(server);
    let content = std::fs::read(&local).expect("read");
    assert_eq!(content.len() as u64, PIECES * PIECE as u64);
    assert!(content.iter().all(|byte| *byte == 3));
}

#[test]
fn a_removed_files_space_is_free_at_once() {
    let site = Site::new();
    let server = site.serve();
    let mut a = Client::connect(&server, "a");
    let (file, root) = (a.file(&site), a.mount(&site.export).expect("mounted"));
    a.write(&file, 0, b"held").expect("written");
    let there = std::fs::metadata(site.export.join("file")).expect("there");
    let inode = (there.dev(), there.ino());
    let held = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", server.id())).expect("listed");
        fds.filter_map(|fd| std::fs::metadata(fd.expect("an entry").path()).ok())
            .any(|found| (found.dev(), found.ino()) == inode)
    };
    assert!(held());
    assert_eq!(a.status(REMOVE, &at(&root, "file")), nfsstat3::NFS3_OK);
    assert!(!held());
}
