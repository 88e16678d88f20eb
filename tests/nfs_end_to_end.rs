//! NFS through the whole server, over real sockets, read with another's codec.

mod harness;

use std::collections::HashSet;

use cleat_rpc::message::ReplyError;
use harness::nfs::{at, handle, mode, result, there};
use harness::{Client, NFS, Server, Site};
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::Opaque;

const GETATTR: u32 = 1;
const SETATTR: u32 = 2;
const LOOKUP: u32 = 3;
const ACCESS: u32 = 4;
const READLINK: u32 = 5;
const WRITE: u32 = 7;
const CREATE: u32 = 8;
const MKDIR: u32 = 9;
const SYMLINK: u32 = 10;
const MKNOD: u32 = 11;
const REMOVE: u32 = 12;
const RMDIR: u32 = 13;
const RENAME: u32 = 14;
const LINK: u32 = 15;
const READDIR: u32 = 16;
const READDIRPLUS: u32 = 17;
const FSSTAT: u32 = 18;
const FSINFO: u32 = 19;
const PATHCONF: u32 = 20;

/// What was before and is after, as a client checks it: nobody else changed `object`, and the
/// reply knows it as it is now.
fn expect_wcc(client: &mut Client, object: &[u8], seen: &fattr3, wcc: wcc_data) -> fattr3 {
    let (before, after) = (there(wcc.before), there(wcc.after));
    let known = (seen.size, seen.mtime, seen.ctime);
    assert_eq!((before.size, before.mtime, before.ctime), known);
    let now = client.getattr(object).expect("found");
    assert_eq!((after.ctime, after.mtime, after.size), (now.ctime, now.mtime, now.size));
    now
}

/// A client with the export's root, and what the root was like.
fn mounted(site: &Site, server: &Server) -> (Client, Vec<u8>, fattr3) {
    let mut client = Client::connect(server, "client");
    let root = client.mount(&site.export).expect("mounted");
    let seen = client.getattr(&root).expect("found");
    (client, root, seen)
}

fn remove_args<'a>(dir: &[u8], name: &'a str) -> REMOVE3args<'a> {
    REMOVE3args { object: at(dir, name) }
}

#[test]
fn what_is_in_a_file_is_written_read_and_changed() {
    let site = Site::new();
    let server = site.serve();
    let (mut client, root, seen) = mounted(&site, &server);
    assert_eq!(client.call(NFS, 0, &|_| ()), Ok(vec![]));
    assert_eq!(client.call(NFS, 22, &|_| ()), Err(ReplyError::NotRun(3)));

    let how = createhow3::GUARDED(mode(0o640));
    let made = client.nfs::<CREATE3res>(CREATE, &CREATE3args { where_: at(&root, "new"), how });
    let made = made.unwrap();
    let new = there(made.obj).data.to_vec();
    assert_eq!(there(made.obj_attributes).mode, 0o640);
    expect_wcc(&mut client, &root, &seen, made.dir_wcc);
    let again = client.create(&root, "new", createhow3::GUARDED(mode(0)));
    assert_eq!(again, Err(nfsstat3::NFS3ERR_EXIST));
    assert_eq!(client.create(&root, "new", createhow3::UNCHECKED(mode(0))), Ok(new.clone()));

    let before = client.getattr(&new).expect("found");
    let (offset, count, data) = (1 << 32, 5, Opaque::borrowed(b"hello"));
    for stable in [stable_how::UNSTABLE, stable_how::DATA_SYNC, stable_how::FILE_SYNC] {
        let args = WRITE3args { file: handle(&new), offset, count, stable, data: data.clone() };
        let written = client.nfs::<WRITE3res>(WRITE, &args).unwrap();
        assert_eq!((written.count, written.committed), (5, stable));
        assert_eq!(written.verf.0, client.commit(&new).expect("committed"));
        if stable == stable_how::UNSTABLE {
            expect_wcc(&mut client, &new, &before, written.file_wcc);
        }
    }
    assert_eq!(client.read(&new, offset - 1, 9), (b"\0hello".to_vec(), true));
    assert_eq!(client.read(&new, offset, 4), (b"hell".to_vec(), false));
    assert_eq!(client.read(&new, u64::MAX, 4), (vec![], true));

    let before = client.getattr(&new).expect("found");
    let size = sattr3 { size: Nfs3Option::Some(3), ..mode(0o600) };
    let set = |guard| SETATTR3args { object: handle(&new), new_attributes: size.clone(), guard };
    let older = nfstime3 { seconds: 1, nseconds: 0 };
    let refused = client.status(SETATTR, &set(Nfs3Option::Some(older)));
    assert_eq!(refused, nfsstat3::NFS3ERR_NOT_SYNC);
    let changed = client.nfs::<SETATTR3res>(SETATTR, &set(Nfs3Option::Some(before.ctime)));
    let now = expect_wcc(&mut client, &new, &before, changed.unwrap().obj_wcc);
    assert_eq!((now.mode, now.size), (0o600, 3));
}

#[test]
fn names_are_made_found_moved_and_removed() {
    let site = Site::new();
    let server = site.serve();
    let (mut client, root, seen) = mounted(&site, &server);
    let args = MKDIR3args { where_: at(&root, "dir"), attributes: mode(0o755) };
    let made = client.nfs::<MKDIR3res>(MKDIR, &args).unwrap();
    let dir = there(made.obj).data.to_vec();
    let seen = expect_wcc(&mut client, &root, &seen, made.dir_wcc);

    let symlink_data = b"../outside"[..].into();
    let symlink = symlinkdata3 { symlink_attributes: sattr3::default(), symlink_data };
    let args = SYMLINK3args { where_: at(&dir, "symlink"), symlink };
    let symlink = there(client.nfs::<SYMLINK3res>(SYMLINK, &args).unwrap().obj);
    let read = client.nfs::<READLINK3res<'static>>(READLINK, &READLINK3args { symlink }).unwrap();
    assert_eq!(read.data.as_ref(), b"../outside");

    let what = mknoddata3::NF3FIFO(mode(0o600));
    let args = MKNOD3args { where_: at(&dir, "fifo"), what };
    let made = client.nfs::<MKNOD3res>(MKNOD, &args).unwrap();
    assert_eq!(there(made.obj_attributes).type_, ftype3::NF3FIFO);
    let fifo = there(made.obj).data.to_vec();
    let reading = READ3args { file: handle(&fifo), offset: 0, count: 1 };
    assert_eq!(client.status(6, &reading), nfsstat3::NFS3ERR_INVAL);

    let file = client.lookup(&root, "file").expect("found");
    let args = LINK3args { file: handle(&file), link: at(&dir, "link") };
    let linked = client.nfs::<LINK3res>(LINK, &args).unwrap();
    assert_eq!(there(linked.file_attributes).nlink, 2);
    let dir_seen = client.getattr(&dir).expect("found");

    let args = RENAME3args { from: at(&root, "file"), to: at(&dir, "moved") };
    let renamed = client.nfs::<RENAME3res>(RENAME, &args).unwrap();
    expect_wcc(&mut client, &root, &seen, renamed.fromdir_wcc);
    let dir_seen = expect_wcc(&mut client, &dir, &dir_seen, renamed.todir_wcc);
    assert_eq!(client.lookup(&dir, "moved"), Ok(file.clone()));
    assert_eq!(client.lookup(&root, "file"), Err(2));
    assert_eq!(client.lookup(&dir, ".."), Ok(root.clone()));
    assert_eq!(client.lookup(&root, ".."), Ok(root.clone()));
    for name in ["a/b", "", "a\0b"] {
        assert_eq!(client.lookup(&root, name), Err(13));
    }

    let removed = client.nfs::<REMOVE3res>(REMOVE, &remove_args(&dir, "moved")).unwrap();
    expect_wcc(&mut client, &dir, &dir_seen, removed.dir_wcc);
    let rmdir = RMDIR3args { object: at(&root, "dir") };
    assert_eq!(client.status(RMDIR, &rmdir), nfsstat3::NFS3ERR_NOTEMPTY);
    for name in ["link", "fifo", "symlink"] {
        assert_eq!(client.status(REMOVE, &remove_args(&dir, name)), nfsstat3::NFS3_OK);
    }
    assert_eq!(client.status(RMDIR, &rmdir), nfsstat3::NFS3_OK);
    // What is gone is stale, whichever way it went.
    assert_eq!(client.getattr(&dir).map(drop), Err(nfsstat3::NFS3ERR_STALE));
    assert_eq!(client.getattr(&file).map(drop), Err(nfsstat3::NFS3ERR_STALE));
    assert_eq!(client.write(&file, 0, b"x"), Err(nfsstat3::NFS3ERR_STALE));
    assert_eq!(client.commit(&file), Err(nfsstat3::NFS3ERR_STALE));
}

#[test]
fn the_file_system_tells_of_itself() {
    let site = Site::new();
    let server = site.serve();
    let (mut client, root, seen) = mounted(&site, &server);
    let fsroot = || handle(&root);
    let stat = client.nfs::<FSSTAT3res>(FSSTAT, &fsroot()).unwrap();
    assert!(stat.tbytes >= stat.fbytes && stat.fbytes >= stat.abytes && stat.tbytes > 0);
    let info = client.nfs::<FSINFO3res>(FSINFO, &fsroot()).unwrap();
    assert_eq!((info.rtmax, info.wtmax, info.properties), (1 << 20, 1 << 20, 0x1b));
    let conf = client.nfs::<PATHCONF3res>(PATHCONF, &fsroot()).unwrap();
    assert!(conf.name_max >= 143 && conf.no_trunc && conf.case_preserving);
    for attributes in [stat.obj_attributes, info.obj_attributes, conf.obj_attributes] {
        assert_eq!(there(attributes).fileid, seen.fileid);
    }
    let args = ACCESS3args { object: fsroot(), access: 0x3f };
    assert_eq!(client.nfs::<ACCESS3res>(ACCESS, &args).unwrap().access, 0x1f);
}

#[test]
fn an_exclusive_create_is_repeated_with_its_verifier_alone() {
    let site = Site::new();
    let mut server = site.serve();
    let (mut client, root, _) = mounted(&site, &server);
    let how = |verifier: &[u8; 8]| createhow3::EXCLUSIVE(createverf3(*verifier));
    let made = client.create(&root, "new", how(b"verifier")).expect("made");
    assert_eq!(client.create(&root, "new", how(b"verifier")), Ok(made.clone()));
    assert_eq!(client.create(&root, "new", how(b"another1")), Err(nfsstat3::NFS3ERR_EXIST));
    server.kill();
    server = site.serve();
    client = Client::connect(&server, "client");
    assert_eq!(client.create(&root, "new", how(b"verifier")), Ok(made.clone()));
    // SETATTR ends what a repetition can be told from.
    let times = sattr3 {
        atime: set_atime::SET_TO_SERVER_TIME,
        mtime: set_mtime::SET_TO_SERVER_TIME,
        ..mode(0o600)
    };
    let guard = Nfs3Option::None;
    let set = SETATTR3args { object: handle(&made), new_attributes: times, guard };
    assert_eq!(client.status(SETATTR, &set), nfsstat3::NFS3_OK);
    assert_eq!(client.create(&root, "new", how(b"verifier")), Err(nfsstat3::NFS3ERR_EXIST));
}

#[test]
fn handles_and_data_outlive_a_crash_and_a_rename() {
    let site = Site::new();
    let server = site.serve();
    let (mut client, root, _) = mounted(&site, &server);
    let args = MKDIR3args { where_: at(&root, "dir"), attributes: mode(0o755) };
    let dir = there(client.nfs::<MKDIR3res>(MKDIR, &args).unwrap().obj).data.to_vec();
    let file = client.create(&dir, "open", createhow3::UNCHECKED(mode(0o600))).expect("made");
    let written = client.write(&file, 0, b"before").expect("written");
    let args = RENAME3args { from: at(&root, "dir"), to: at(&root, "moved") };
    assert_eq!(client.status(RENAME, &args), nfsstat3::NFS3_OK);
    server.kill();
    let server = site.serve();
    let mut client = Client::connect(&server, "client");
    assert_eq!(client.read(&file, 0, 100), (b"before".to_vec(), true));
    let committed = client.commit(&file).expect("committed");
    assert_ne!(committed, written, "unstable writes may be lost by a crash");
    assert_eq!(client.write(&file, 6, b" and after"), Ok(committed));
    let moved = site.export.join("moved/open");
    assert_eq!(std::fs::read(moved).expect("there"), b"before and after");
    assert_eq!(client.lookup(&dir, "open"), Ok(file));
}

/// A READDIR's answer: names with their cookies, the verifier, whether that was the end.
type Listed = (Vec<(String, u64)>, [u8; 8], bool);

/// READDIR from behind a cookie.
fn list(
    client: &mut Client,
    dir: &[u8],
    (cookie, verifier): (u64, [u8; 8]),
) -> Result<Listed, nfsstat3> {
    let args =
        READDIR3args { dir: handle(dir), cookie, cookieverf: cookieverf3(verifier), count: 1000 };
    let listed = result(client.nfs::<READDIR3res<'static>>(READDIR, &args))?;
    let text = |name: &[u8]| String::from_utf8(name.to_vec()).expect("text");
    let entries = listed.reply.entries.into_inner();
    let names = entries.iter().map(|entry| (text(entry.name.as_ref()), entry.cookie)).collect();
    Ok((names, listed.cookieverf.0, listed.reply.eof))
}

#[test]
fn a_directory_is_listed_to_its_end_while_it_is_emptied() {
    let site = Site::new();
    let server = site.serve();
    let (mut client, root, _) = mounted(&site, &server);
    std::fs::remove_file(site.export.join("file")).expect("removed");
    let expected: HashSet<String> = (0..500).map(|n| format!("name-{n}")).collect();
    for name in &expected {
        std::fs::write(site.export.join(name), "").expect("made");
    }
    let (mut place, mut seen) = ((0, [0; 8]), HashSet::new());
    loop {
        let (names, verifier, eof) = list(&mut client, &root, place).expect("listed");
        for (name, _) in names.iter().filter(|(name, _)| !name.starts_with('.')) {
            assert_eq!(client.status(REMOVE, &remove_args(&root, name)), nfsstat3::NFS3_OK);
            assert!(seen.insert(name.clone()), "{name} came twice");
        }
        if eof {
            break;
        }
        place = (names.last().expect("a name").1, verifier);
    }
    assert_eq!(seen, expected);
    let foreign = (place.0, [!place.1[0]; 8]);
    assert_eq!(list(&mut client, &root, foreign).map(drop), Err(nfsstat3::NFS3ERR_BAD_COOKIE));
    let cookieverf = cookieverf3::default();
    let (dir, dircount, maxcount) = (handle(&root), 4096, 65536);
    let args = READDIRPLUS3args { dir, cookie: 0, cookieverf, dircount, maxcount };
    let plus = client.nfs::<READDIRPLUS3res<'static>>(READDIRPLUS, &args).unwrap();
    for entry in plus.reply.entries.into_inner() {
        assert_eq!(there(entry.name_handle).data.as_ref(), root, "both dots are the root");
        assert_eq!(there(entry.name_attributes).fileid, entry.fileid);
    }
    assert!(plus.reply.eof);
}

#[test]
fn a_read_only_export_is_changed_by_no_procedure() {
    let site = Site::new();
    let read_only = format!("{}:ro,no_root_squash", site.export.display());
    let server = Server::start(site.path(), &["--export", &read_only]);
    let (mut client, root, _) = mounted(&site, &server);
    let file = client.lookup(&root, "file").expect("found");
    let seen = client.getattr(&file).expect("found");
    let refused = nfsstat3::NFS3ERR_ROFS;
    for how in [createhow3::UNCHECKED(mode(0)), createhow3::EXCLUSIVE(createverf3([1; 8]))] {
        assert_eq!(client.create(&root, "file", how), Err(refused));
    }
    let guard = Nfs3Option::None;
    let set = SETATTR3args { object: handle(&file), new_attributes: mode(0o777), guard };
    let symlink_data = b"target"[..].into();
    let symlink = symlinkdata3 { symlink_attributes: sattr3::default(), symlink_data };
    let new = || at(&root, "new");
    let what = mknoddata3::NF3FIFO(mode(0o600));
    let statuses = [
        client.status(SETATTR, &set),
        client.status(MKDIR, &MKDIR3args { where_: new(), attributes: mode(0o755) }),
        client.status(SYMLINK, &SYMLINK3args { where_: new(), symlink }),
        client.status(MKNOD, &MKNOD3args { where_: new(), what }),
        client.status(REMOVE, &remove_args(&root, "file")),
        client.status(RMDIR, &RMDIR3args { object: new() }),
        client.status(RENAME, &RENAME3args { from: at(&root, "file"), to: new() }),
        client.status(LINK, &LINK3args { file: handle(&file), link: new() }),
    ];
    assert_eq!(statuses, [refused; 8]);
    assert_eq!(client.write(&file, 0, b"x"), Err(refused));
    assert!(client.commit(&file).is_ok(), "changes nothing");
    assert_eq!(client.getattr(&file).map(|now| now.ctime), Ok(seen.ctime));
    let args = ACCESS3args { object: handle(&file), access: 0x3f };
    assert_eq!(client.nfs::<ACCESS3res>(ACCESS, &args).unwrap().access & 0x1c, 0);
}

#[test]
fn a_handle_opens_its_own_export_to_its_own_clients() {
    let site = Site::new();
    let other = site.path().join("other");
    std::fs::create_dir(&other).expect("made");
    let config = site.path().join("config.toml");
    let exports = format!(
        "[[export]]\npath = \"{}\"\nclients = {{ \"*\" = \"rw,no_root_squash\" }}\n\
         [[export]]\npath = \"{}\"\nclients = {{ \"127.0.0.2\" = \"rw,no_root_squash\" }}\n",
        site.export.display(),
        other.display()
    );
    std::fs::write(&config, exports).expect("written");
    let server = Server::start(site.path(), &["--config", config.to_str().expect("text")]);
    let mut friend =
        Client::connect_from(&server, "friend", std::net::Ipv4Addr::new(127, 0, 0, 2).into());
    let private = friend.mount(&other).expect("mounted");
    let public = friend.mount(&site.export).expect("mounted");
    let mut stranger = Client::connect(&server, "stranger");
    assert_eq!(stranger.mount(&other), Err(13));
    assert_eq!(stranger.getattr(&private).map(drop), Err(nfsstat3::NFS3ERR_ACCES));
    // The number and the check of an export that anybody may use, before a file of the other's.
    let forged = [&public[..17], &private[17..]].concat();
    for made_up in [forged, vec![], vec![0; 64], public[..20].to_vec()] {
        assert_eq!(stranger.status(GETATTR, &handle(&made_up)), nfsstat3::NFS3ERR_BADHANDLE);
        assert_eq!(stranger.status(LOOKUP, &at(&made_up, "x")), nfsstat3::NFS3ERR_BADHANDLE);
    }
    let args = RENAME3args { from: at(&public, "file"), to: at(&private, "file") };
    assert_eq!(friend.status(RENAME, &args), nfsstat3::NFS3ERR_XDEV);
}
