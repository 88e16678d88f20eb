//! How long requests wait: none beyond its time, and none is ended before that. Time for which the
//! server was down, or admitted nobody but who reclaims, is not counted.

use std::collections::BTreeMap;

use cleat_lock::{Counters, WaiterId};

use super::World;
use super::table::{Table, Waiter};
use super::types::Request;

/// Since when each request waits, and was last sent, as far as that counts.
#[derive(Debug, Default)]
pub struct Waits {
    since: BTreeMap<WaiterId, Wait>,
    ended: (u64, u64),
}

#[derive(Debug)]
struct Wait {
    waiter: Waiter,
    began_ms: u64,
    asked_ms: u64,
}

impl Wait {
    fn is_silent(&self, now_ms: u64) -> bool {
        let silence_ms = self.waiter.silence_ms;
        silence_ms > 0 && now_ms >= self.asked_ms + silence_ms
    }

    fn is_over(&self, now_ms: u64) -> bool {
        let timeout_ms = self.waiter.timeout_ms;
        timeout_ms > 0 && now_ms >= self.began_ms + timeout_ms
    }
}

impl Waits {
    /// Takes note of a step: `open` = a grace window was open in it. Gives what is wrong.
    pub fn follow(
        &mut self,
        now_ms: u64,
        open: bool,
        table: &Table,
        counters: &Counters,
    ) -> Option<String> {
        let before = std::mem::take(&mut self.since);
        let gone = |id: &WaiterId| !table.waiting().any(|waiter| waiter.waiter == *id);
        let gone: Vec<&Wait> = before.iter().filter(|(id, _)| gone(id)).map(|it| it.1).collect();
        let silent = gone.iter().filter(|wait| wait.is_silent(now_ms)).count() as u64;
        let over = gone.iter().filter(|wait| wait.is_over(now_ms)).count() as u64;
        let ended = (counters.expired, counters.timed_out);
        let now = (ended.0 - self.ended.0, ended.1 - self.ended.1);
        self.ended = ended;
        if now.0 > silent || now.1 > over {
            return Some(format!(
                "{now:?} waits ended where ({silent}, {over}) were over: {gone:?}"
            ));
        }
        for &waiter in table.waiting() {
            let known = before.get(&waiter.waiter).filter(|_| !open);
            let (began_ms, asked_ms) =
                known.map_or((now_ms, now_ms), |wait| (wait.began_ms, wait.asked_ms));
            self.since.insert(waiter.waiter, Wait { waiter, began_ms, asked_ms });
        }
        let late = self.since.values().find(|it| it.is_silent(now_ms) || it.is_over(now_ms));
        late.map(|wait| format!("waits beyond its time: {wait:?}"))
    }
}

impl World {
    /// Judges how long the requests waited that a step ended or left.
    pub fn check_waits(&mut self, was_open: bool) {
        let (now_ms, open) = (self.now_ms, was_open || self.grace_open());
        let Some(server) = &mut self.server else { return };
        let counters = server.core.counters();
        if let Some(wrong) = server.waits.follow(now_ms, open, &server.table, &counters) {
            self.fail(|| wrong);
        }
    }

    /// A request that waits was sent again.
    pub fn blocked(&mut self, request: &Request, span: super::types::Span) {
        let now_ms = self.now_ms;
        let Some(server) = &mut self.server else { return };
        let who = (request.host, request.process);
        let mut waits = server.waits.since.values_mut();
        if let Some(wait) = waits.find(|it| (it.waiter.who, it.waiter.span) == (who, span)) {
            wait.asked_ms = now_ms;
        }
    }
}
