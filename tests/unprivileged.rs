//! A server that is not root: the owner of a file goes on reading and writing whatever its mode
//! says meanwhile (RFC 1813 4.4), also after the server started anew.

mod harness;

use std::os::unix::fs::{PermissionsExt, chown};

use harness::nfs::{handle, mode};
use harness::{Client, Server, Site, is_root};
use nfs3_types::nfs3::{Nfs3Option, SETATTR3args, createhow3, nfsstat3};

const USER: u32 = 65_534;
const SETATTR: u32 = 2;

fn own(site: &Site) {
    for path in [site.path().to_owned(), site.export.clone(), site.export.join("file")] {
        chown(path, Some(USER), Some(USER)).expect("given away");
    }
}

fn serve(site: &Site) -> Server {
    let export = format!("{}:rw", site.export.display());
    Server::start_unprivileged(site.path(), USER, &["--export", &export])
}

fn change_mode(client: &mut Client, file: &[u8], to: u32) {
    let args =
        SETATTR3args { object: handle(file), new_attributes: mode(to), guard: Nfs3Option::None };
    assert_eq!(client.status(SETATTR, &args), nfsstat3::NFS3_OK);
}

#[test]
fn the_owner_goes_on_writing_after_the_mode_forbids_it() {
    if !is_root("a server of another user") {
        return;
    }
    let site = Site::new();
    own(&site);
    let server = serve(&site);
    let mut client = Client::connect(&server, "a");
    client.as_user(USER, USER);
    let root = client.mount(&site.export).expect("mounted");
    let made = |client: &mut Client, name: &str, bits: u32| {
        client.create(&root, name, createhow3::GUARDED(mode(bits))).expect("made")
    };
    let changed = made(&mut client, "changed", 0o644);
    let read_only = made(&mut client, "read_only", 0o444);
    client.write(&changed, 0, b"first ").expect("written");
    change_mode(&mut client, &changed, 0);
    for file in [&changed, &read_only] {
        client.write(file, 6, b"second").expect("written");
    }
    server.kill();

    // Its client writes again what it has not committed.
    let server = serve(&site);
    let mut client = Client::connect(&server, "a");
    client.as_user(USER, USER);
    for file in [&changed, &read_only] {
        let written = client.write(file, 0, b"first second").expect("written");
        assert_eq!(client.commit(file), Ok(written));
        assert_eq!(client.read(file, 0, 100).0, b"first second");
    }
    for (name, bits) in [("changed", 0), ("read_only", 0o444)] {
        let metadata = std::fs::metadata(site.export.join(name)).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, bits, "{name}");
        assert_eq!(std::fs::read(site.export.join(name)).expect("read"), b"first second");
    }
    // Who is not the owner may not, by the export's own rules.
    let others = site.export.join("others");
    std::fs::write(&others, "root's").expect("written");
    std::fs::set_permissions(&others, std::fs::Permissions::from_mode(0o600)).expect("set");
    let others = client.lookup(&root, "others").expect("found");
    assert_eq!(client.write(&others, 0, b"x"), Err(nfsstat3::NFS3ERR_ACCES));
}
