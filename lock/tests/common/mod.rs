//! A desk at which tests ask the core for locks: keeps the clock, the names and a durable image,
//! and after every step compares the image with the core.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use cleat_lock::{
    Access, Config, Core, Effect, FileId, GraceEvent, GrantAck, Input, LockId, LockRequest, Mode,
    Outcome, Owner, Range, Record, RecordOp, ShareRequest, Token, UpgradeRequest, Wait, WaiterId,
};
use uuid::Uuid;

/// The durable image: what a store would hold.
pub type Image = BTreeMap<Vec<u8>, Vec<u8>>;

/// A core with its surroundings.
pub struct Desk {
    pub core: Core,
    pub config: Config,
    pub image: Image,
    pub now_ms: u64,
    pub effects: Vec<Effect>,
    /// Off where a test has too much on record to compare it all the time.
    pub check_every_step: bool,
    next: u64,
}

/// What differs from the plainest lock request.
#[derive(Clone)]
pub struct Ask {
    pub wait: Option<Wait>,
    pub reclaim: bool,
    pub incarnation: u32,
    pub contact: Arc<[u8]>,
}

pub fn ask() -> Ask {
    Ask { wait: None, reclaim: false, incarnation: 1, contact: Arc::from(&b""[..]) }
}

pub fn waiting() -> Ask {
    let context = Arc::from(&b"callback"[..]);
    Ask {
        wait: Some(Wait { context, silence_ms: 0, timeout_ms: Some(0), find_deadlock: true }),
        ..ask()
    }
}

pub fn reclaiming() -> Ask {
    Ask { reclaim: true, ..ask() }
}

/// The owner `client/process`.
pub fn owner(name: &str) -> Owner {
    let client = name.split('/').next().unwrap();
    Owner {
        owner_id: Arc::from(name),
        client_id: Arc::from(client),
        share_name: Arc::from("share"),
        note: Arc::from(name.as_bytes()),
    }
}

pub fn file(name: &str) -> FileId {
    FileId::new(name.as_bytes())
}

/// From first to last byte, both included.
pub fn bytes(first: u64, last: u64) -> Range {
    Range::between(first, last).unwrap()
}

pub const S: Mode = Mode::Shared;
pub const X: Mode = Mode::Exclusive;

impl Desk {
    pub fn new() -> Desk {
        Desk::with(Config::default())
    }

    pub fn with(config: Config) -> Desk {
        Desk {
            core: Core::new(config.clone()),
            config,
            image: Image::new(),
            now_ms: 1_000,
            effects: Vec::new(),
            check_every_step: true,
            next: 0,
        }
    }

    pub fn fresh_id(&mut self) -> LockId {
        self.next += 1;
        LockId::new(Uuid::from_u128(u128::from(self.next)))
    }

    /// One step; gives its effects apart from records, and checks the image.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.core.step(self.now_ms, input, &mut effects);
        for effect in &effects {
            match effect {
                Effect::Persist(RecordOp::Put(record)) => {
                    self.image.insert(record.key(), record.encode());
                }
                Effect::Persist(RecordOp::Delete(key)) => {
                    assert!(self.image.remove(&key.to_bytes()).is_some(), "deleted once: {key:?}");
                }
                _ => {}
            }
        }
        if self.check_every_step {
            self.check_image();
        }
        effects.retain(|effect| !matches!(effect, Effect::Persist(_)));
        self.effects.extend(effects.iter().cloned());
        effects
    }

    /// The image is what the core holds, and a core made of it holds the same.
    pub fn check_image(&self) {
        assert_eq!(self.image, image_of(&self.core), "image and core differ");
        let restored =
            Core::restore(self.config.clone(), self.now_ms, self.records(), 90_000, true);
        assert_eq!(restored.rejected(), &[], "records contradict each other");
        assert_eq!(self.image, image_of(&restored), "image and restored core differ");
    }

    /// The records as a store would list them.
    pub fn records(&self) -> Vec<Record> {
        let decode = |(key, value): (&Vec<u8>, &Vec<u8>)| Record::decode(key, value).unwrap();
        self.image.iter().map(decode).collect()
    }

    /// The server stops dead and starts again.
    pub fn restart(&mut self, grace_ms: u64, exact: bool) -> Vec<Effect> {
        let records = self.records();
        self.core = Core::restore(self.config.clone(), self.now_ms, records, grace_ms, exact);
        self.step(Input::Tick)
    }

    fn token(&mut self) -> Token {
        self.next += 1;
        Token(self.next)
    }

    /// One step that is answered; gives the answer and the other effects.
    pub fn call(&mut self, make: impl FnOnce(Token) -> Input) -> (Outcome, Vec<Effect>) {
        let token = self.token();
        let mut rest = self.step(make(token));
        let mut outcomes = Vec::new();
        rest.retain(|effect| match effect {
            Effect::Reply { token: replied, outcome } => {
                assert_eq!(*replied, token);
                outcomes.push(outcome.clone());
                false
            }
            _ => true,
        });
        assert_eq!(outcomes.len(), 1, "one reply to one request");
        (outcomes.remove(0), rest)
    }

    pub fn lock_full(
        &mut self,
        who: &str,
        on: &str,
        range: Range,
        mode: Mode,
        ask: Ask,
    ) -> (Outcome, Vec<Effect>) {
        let id = self.fresh_id();
        let Ask { wait, reclaim, incarnation, contact } = ask;
        self.call(|token| {
            let (owner, file) = (owner(who), file(on));
            Input::Lock(LockRequest {
                token,
                id,
                owner,
                file,
                range,
                mode,
                wait,
                reclaim,
                incarnation,
                contact,
            })
        })
    }

    pub fn lock(&mut self, who: &str, range: Range, mode: Mode) -> Outcome {
        self.lock_full(who, "f", range, mode, ask()).0
    }

    pub fn lock_wait(&mut self, who: &str, range: Range, mode: Mode) -> Outcome {
        self.lock_full(who, "f", range, mode, waiting()).0
    }

    pub fn reclaim(&mut self, who: &str, range: Range, mode: Mode) -> Outcome {
        self.lock_full(who, "f", range, mode, reclaiming()).0
    }

    pub fn upgrade_full(
        &mut self,
        who: &str,
        range: Range,
        wait: Option<Wait>,
    ) -> (Outcome, Vec<Effect>) {
        self.upgrade_on(who, "f", range, Ask { wait, ..ask() })
    }

    pub fn upgrade_on(
        &mut self,
        who: &str,
        on: &str,
        range: Range,
        ask: Ask,
    ) -> (Outcome, Vec<Effect>) {
        let (id, owner, file) = (self.fresh_id(), owner(who), file(on));
        let Ask { wait, incarnation, contact, .. } = ask;
        self.call(|token| {
            Input::Upgrade(UpgradeRequest {
                token,
                id,
                owner,
                file,
                range,
                wait,
                incarnation,
                contact,
            })
        })
    }

    pub fn upgrade(&mut self, who: &str, range: Range) -> Outcome {
        self.upgrade_full(who, range, None).0
    }

    pub fn upgrade_wait(&mut self, who: &str, range: Range) -> Outcome {
        self.upgrade_full(who, range, waiting().wait).0
    }

    pub fn share_full(
        &mut self,
        who: &str,
        on: &str,
        (access, deny): (Access, Access),
        ask: Ask,
    ) -> (Outcome, Vec<Effect>) {
        let (owner, file) = (owner(who), file(on));
        let Ask { reclaim, incarnation, contact, .. } = ask;
        self.call(|token| {
            Input::Share(ShareRequest {
                token,
                owner,
                file,
                access,
                deny,
                reclaim,
                incarnation,
                contact,
            })
        })
    }

    pub fn share(&mut self, who: &str, access: Access, deny: Access) -> Outcome {
        self.share_full(who, "f", (access, deny), ask()).0
    }

    pub fn unshare(&mut self, who: &str) -> Vec<Effect> {
        let (owner, file) = (owner(who), file("f"));
        let (outcome, effects) = self.call(|token| Input::Unshare { token, owner, file });
        assert_eq!(outcome, Outcome::Done);
        effects
    }

    /// The shares of file `f`, as `owner access/deny`.
    pub fn shared(&self) -> String {
        let shares = self.core.shares_of_file(&file("f"));
        let lines = shares
            .iter()
            .map(|share| format!("{} {:?}/{:?}", share.owner.owner_id, share.access, share.deny));
        lines.collect::<Vec<_>>().join(", ")
    }

    pub fn unlock_full(&mut self, who: &str, on: &str, range: Range) -> (Outcome, Vec<Effect>) {
        let id = self.fresh_id();
        self.call(|token| Input::Unlock { token, id, owner: owner(who), file: file(on), range })
    }

    pub fn unlock(&mut self, who: &str, range: Range) -> Vec<Effect> {
        let (outcome, effects) = self.unlock_full(who, "f", range);
        assert_eq!(outcome, Outcome::Done);
        effects
    }

    pub fn test(&mut self, who: &str, range: Range, mode: Mode) -> Outcome {
        let (owner, file) = (owner(who), file("f"));
        self.call(|token| Input::Test { token, owner, file, range, mode }).0
    }

    pub fn cancel(&mut self, who: &str, range: Range, mode: Mode) -> Outcome {
        let (owner, file) = (owner(who), file("f"));
        self.call(|token| Input::Cancel { token, owner, file, range, mode }).0
    }

    pub fn tick_at(&mut self, now_ms: u64) -> Vec<Effect> {
        self.now_ms = now_ms;
        self.step(Input::Tick)
    }

    pub fn accept(&mut self, waiter: WaiterId) -> Vec<Effect> {
        self.step(Input::GrantOutcome { waiter, outcome: GrantAck::Accepted })
    }

    pub fn refuse(&mut self, waiter: WaiterId) -> Vec<Effect> {
        self.step(Input::GrantOutcome { waiter, outcome: GrantAck::Refused })
    }

    /// What is held on file `f`, as `owner first-last mode`, by place.
    pub fn held(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for lock in self.core.locks_of_file(&file("f"), Range::ALL) {
            let mode = if lock.mode == X { "X" } else { "S" };
            let last = match lock.range.last() {
                u64::MAX => "EOF".to_owned(),
                last => last.to_string(),
            };
            lines.push(format!("{} {}-{last} {mode}", lock.owner.owner_id, lock.range.first()));
        }
        lines.sort();
        lines.join(", ")
    }

    /// Who waits, the foremost first.
    pub fn queue(&self) -> String {
        let waiting = self.core.waiters().filter(|waiter| waiter.granted.is_none());
        waiting.map(|waiter| waiter.owner.owner_id.to_string()).collect::<Vec<_>>().join(" ")
    }
}

pub fn image_of(core: &Core) -> Image {
    core.records().map(|record| (record.key(), record.encode())).collect()
}

/// The owners of the grants among the effects, with their names.
pub fn grants(effects: &[Effect]) -> Vec<(String, WaiterId)> {
    let pick = |effect: &Effect| match effect {
        Effect::Grant(grant) => Some((grant.owner.owner_id.to_string(), grant.waiter)),
        _ => None,
    };
    effects.iter().filter_map(pick).collect()
}

/// The one grant among the effects.
pub fn grant_to(effects: &[Effect], who: &str) -> WaiterId {
    match grants(effects).as_slice() {
        [(name, waiter)] if name == who => *waiter,
        other => panic!("expected one grant, to {who}: {other:?}"),
    }
}

/// The news of the grace window among the effects.
pub fn grace_news(effects: &[Effect]) -> Vec<GraceEvent> {
    let pick = |effect: &Effect| match effect {
        Effect::Grace(event) => Some(*event),
        _ => None,
    };
    effects.iter().filter_map(pick).collect()
}

/// Who a conflict names.
pub fn conflict_with(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Conflict(conflict) => &conflict.owner.owner_id,
        other => panic!("expected a conflict: {other:?}"),
    }
}
