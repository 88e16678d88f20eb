//! What the benchmarks share: a core, names made beforehand, and tables of many locks.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::sync::Arc;

use cleat_lock::{
    Config, Core, Effect, FileId, Input, Limits, LockId, LockRequest, Mode, Outcome, Owner, Range,
    Token, Wait,
};
use uuid::Uuid;

/// A lock that is in the table from the start has every `STRIDE`-th byte and three more; the rest
/// is free, and touches none of them.
const STRIDE: u64 = 16;

/// A core with its surroundings.
pub struct Bench {
    pub core: Core,
    pub config: Config,
    pub owners: Vec<Owner>,
    effects: Vec<Effect>,
    contact: Arc<[u8]>,
    context: Arc<[u8]>,
    ids: u128,
    seed: u64,
}

/// Owner number `n`; a hundred owners share a client.
fn owner(n: usize) -> Owner {
    Owner {
        owner_id: Arc::from(format!("nlm:client{}.example:{n}", n / 100)),
        client_id: Arc::from(format!("client{}.example", n / 100)),
        share_name: Arc::from("/export/data"),
        note: Arc::from(format!("{n}@client").as_bytes()),
    }
}

/// The id of file number `n`, made anew: a driver has it from each request's handle.
fn file_id(n: usize) -> FileId {
    let mut bytes = [1, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    FileId::new(&bytes[..])
}

impl Bench {
    pub fn new(owners: usize) -> Bench {
        let limits = Limits {
            locks_per_file: 20_000_000,
            locks_per_client: 20_000_000,
            locks_total: 20_000_000,
            waiters_per_file: 1_000_000,
            waiters_per_client: 1_000_000,
            clients: 1_000_000,
            ..Limits::default()
        };
        let config = Config { limits, ..Config::default() };
        Bench {
            core: Core::new(config.clone()),
            config,
            owners: (0..owners).map(owner).collect(),
            effects: Vec::new(),
            contact: Arc::from(&b"udp 192.0.2.1 100021 4"[..]),
            context: Arc::from(&b"192.0.2.1:700 tcp"[..]),
            ids: 0,
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// A table with `count` disjoint exclusive locks on each of `files` files, the owners taking
    /// turns.
    pub fn filled(owners: usize, files: usize, count: u64) -> Bench {
        let mut bench = Bench::new(owners);
        let mut turn = 0;
        for file in 0..files {
            for place in 0..count {
                let outcome = bench.lock(turn % owners, file, held(place), None);
                assert_eq!(outcome, Outcome::Granted);
                turn += 1;
            }
        }
        bench
    }

    /// One step; gives the reply, where there is one.
    pub fn step(&mut self, input: Input) -> Option<Outcome> {
        self.effects.clear();
        self.core.step(1_000, input, &mut self.effects);
        self.effects.drain(..).find_map(|effect| match effect {
            Effect::Reply { outcome, .. } => Some(outcome),
            _ => None,
        })
    }

    fn fresh(&mut self) -> LockId {
        self.ids += 1;
        LockId::new(Uuid::from_u128(self.ids << 64))
    }

    pub fn lock(&mut self, owner: usize, file: usize, range: Range, wait: Option<bool>) -> Outcome {
        self.lock_in(Mode::Exclusive, owner, file, range, wait)
    }

    pub fn lock_in(
        &mut self,
        mode: Mode,
        owner: usize,
        file: usize,
        range: Range,
        wait: Option<bool>,
    ) -> Outcome {
        let id = self.fresh();
        let context = Arc::clone(&self.context);
        let wait = wait.map(|find_deadlock| Wait {
            context,
            silence_ms: 0,
            timeout_ms: Some(0),
            find_deadlock,
        });
        let request = LockRequest {
            token: Token(1),
            id,
            owner: self.owners[owner].clone(),
            file: file_id(file),
            range,
            mode,
            wait,
            reclaim: false,
            incarnation: 3,
            contact: Arc::clone(&self.contact),
        };
        self.step(Input::Lock(request)).expect("answered")
    }

    pub fn unlock(&mut self, owner: usize, file: usize, range: Range) -> Outcome {
        let id = self.fresh();
        let (owner, file) = (self.owners[owner].clone(), file_id(file));
        self.step(Input::Unlock { token: Token(1), id, owner, file, range }).expect("answered")
    }

    pub fn free_all(&mut self, owner: usize) -> Outcome {
        let client_id = Arc::clone(&self.owners[owner].client_id);
        let mut outcome = self.step(Input::FreeAll { token: Token(1), client_id });
        // Very much goes in steps.
        while outcome.is_none() {
            outcome = self.step(Input::Tick);
        }
        outcome.expect("answered")
    }

    /// A number below `bound`, the same ones in every run.
    pub fn random(&mut self, bound: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % bound
    }
}

/// Where the `n`-th lock is.
pub fn held(n: u64) -> Range {
    Range::new(n * STRIDE, 4).expect("a small number")
}

/// The free bytes behind it.
pub fn free(n: u64) -> Range {
    Range::new(n * STRIDE + 8, 4).expect("a small number")
}
