use cleat_lock::*;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
fn owner(n: u64) -> Owner {
    Owner {
        owner_id: Arc::from(format!("nlm:client{}:pid{n}", n % 100)),
        client_id: Arc::from(format!("client{}", n % 100)),
        share_name: Arc::from("/srv/data"),
        note: Arc::from(&b"note-of-20-bytes...."[..]),
    }
}
fn lock(core: &mut Core, id: u64, o: &Owner, f: &FileId, r: Range, fx: &mut Vec<Effect>) {
    fx.clear();
    core.step(
        1,
        Input::Lock(LockRequest {
            token: Token(id),
            id: LockId::new(Uuid::from_u128(u128::from(id))),
            owner: o.clone(),
            file: f.clone(),
            range: r,
            mode: Mode::Exclusive,
            wait: None,
            reclaim: false,
            incarnation: 1,
            contact: Arc::from(&b""[..]),
        }),
        fx,
    );
    assert!(matches!(fx.last(), Some(Effect::Reply { outcome: Outcome::Granted, .. })), "{fx:?}");
}
fn unlock(core: &mut Core, id: u64, o: &Owner, f: &FileId, r: Range, fx: &mut Vec<Effect>) {
    fx.clear();
    core.step(
        1,
        Input::Unlock {
            token: Token(id),
            id: LockId::new(Uuid::from_u128(u128::from(id))),
            owner: o.clone(),
            file: f.clone(),
            range: r,
        },
        fx,
    );
}
fn rnd(x: &mut u64) -> u64 {
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    *x
}
fn rss() -> u64 {
    std::fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 4096
}
fn pairs(name: &str, core: &mut Core, owners: &[Owner], files: &[FileId], span: u64) {
    let mut fx = Vec::new();
    let mut x = 88172645463325252u64;
    let n = 300_000u64;
    let t = Instant::now();
    for i in 0..n {
        let o = &owners[(rnd(&mut x) % owners.len() as u64) as usize];
        let f = &files[(rnd(&mut x) % files.len() as u64) as usize];
        let at = (rnd(&mut x) % span) * 4 + 2;
        let r = Range::new(at, 1).unwrap();
        lock(core, 1 << 40 | i, o, f, r, &mut fx);
        unlock(core, 1 << 41 | i, o, f, r, &mut fx);
    }
    println!("{name}: {:.0} ns per lock+unlock", t.elapsed().as_nanos() as f64 / n as f64);
}
fn main() {
    let mut fx = Vec::new();
    let owners: Vec<Owner> = (0..1000).map(owner).collect();
    let f = FileId::new(&b"0123456789abcdef0123456789abcdef"[..]);
    let mut core = Core::new(Config::default());
    pairs("uncontended, empty", &mut core, &owners[..1], std::slice::from_ref(&f), 1);
    let keep = Range::new(1 << 60, 1).unwrap();
    lock(&mut core, 1, &owners[0], &f, keep, &mut fx);
    pairs("uncontended, owner known", &mut core, &owners[..1], std::slice::from_ref(&f), 1000);
    for (name, one) in [("one owner", true), ("1000 owners", false)] {
        let mut core = Core::new(Config {
            limits: Limits {
                locks_per_file: 2_000_000,
                locks_per_client: 2_000_000,
                ..Limits::default()
            },
            ..Config::default()
        });
        let before = rss();
        let t = Instant::now();
        for i in 0..1_000_000u64 {
            lock(
                &mut core,
                i,
                &owners[if one { 0 } else { (i % 1000) as usize }],
                &f,
                Range::new(i * 4, 1).unwrap(),
                &mut fx,
            );
        }
        println!(
            "filling 1M on one file ({name}): {:.0} ns each, {} bytes each",
            t.elapsed().as_nanos() as f64 / 1e6,
            (rss() - before) / 1_000_000
        );
        pairs(
            &format!("1M disjoint on one file ({name})"),
            &mut core,
            if one { &owners[..1] } else { &owners },
            std::slice::from_ref(&f),
            1_000_000,
        );
    }
    let files: Vec<FileId> =
        (0..10_000u64).map(|n| FileId::new(format!("{n:032}").as_bytes())).collect();
    let mut core = Core::new(Config::default());
    let before = rss();
    let mut id = 0;
    for f in &files {
        for i in 0..100u64 {
            id += 1;
            lock(
                &mut core,
                id,
                &owners[(i * 7 % 1000) as usize],
                f,
                Range::new(i * 4, 1).unwrap(),
                &mut fx,
            );
        }
    }
    println!("10k files x 100: {} bytes each", (rss() - before) / 1_000_000);
    pairs("10k files x 100", &mut core, &owners, &files, 100);
    let t = Instant::now();
    fx.clear();
    let n = core.client("client0").unwrap().locks;
    core.step(2, Input::FreeAll { token: Token(1), client_id: Arc::from("client0") }, &mut fx);
    println!("free all of {n}: {:?}", t.elapsed());
    // herd
    let herd: Vec<Owner> = (0..10_000).map(|n| owner(100_000 + n)).collect();
    let mut core = Core::new(Config::default());
    lock(&mut core, 1, &owners[0], &f, Range::ALL, &mut fx);
    let t = Instant::now();
    for (i, o) in herd.iter().enumerate() {
        fx.clear();
        core.step(
            1,
            Input::Lock(LockRequest {
                token: Token(5),
                id: LockId::new(Uuid::from_u128(1000 + i as u128)),
                owner: o.clone(),
                file: f.clone(),
                range: Range::ALL,
                mode: Mode::Exclusive,
                wait: Some(Wait {
                    context: Arc::from(&b""[..]),
                    expires_ms: 0,
                    find_deadlock: true,
                }),
                reclaim: false,
                incarnation: 1,
                contact: Arc::from(&b""[..]),
            }),
            &mut fx,
        );
    }
    println!("herd of 10k enqueued: {:?}", t.elapsed());
    let t = Instant::now();
    unlock(&mut core, 2, &owners[0], &f, Range::ALL, &mut fx);
    for o in &herd[..100] {
        unlock(&mut core, 3, o, &f, Range::ALL, &mut fx);
    }
    println!("herd handover: {:?} each", t.elapsed() / 101);
}
