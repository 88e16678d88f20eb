//! Which restarts of hosts were announced lately, so that one is not taken for two.
//!
//! A status monitor repeats its SM_NOTIFY until it hears an answer, each time as a new call. By the
//! second one the host may hold locks of its new life, and their LOCKs need not carry the state
//! that was announced: clients exist that send 0, and in a container the lock manager is the host's
//! and the status monitor is not. So the same announcement releases what is held only once. The
//! state that is announced decides, as with Linux's lockd; a host that restarts again announces
//! another.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::notify::PATIENCE_MS_MIN;

/// How long an announcement is remembered, in milliseconds: as long as status monitors repeat it.
pub const REMEMBERED_MS: u64 = PATIENCE_MS_MIN;

/// How many hosts' are remembered; the oldest is forgotten for one more.
pub const REMEMBERED_MAX: usize = 4096;

/// How many of them may be from one address, a gateway's perhaps.
pub const REMEMBERED_PER_SOURCE_MAX: usize = 256;

/// What each host announced last, if that was in the last [`REMEMBERED_MS`], the oldest first.
#[derive(Debug, Default)]
pub struct Announcements {
    heard: VecDeque<Heard>,
}

#[derive(Debug, PartialEq, Eq)]
struct Heard {
    since_ms: u64,
    source: IpAddr,
    mon_name: Option<Vec<u8>>,
    state: i32,
}

impl Announcements {
    /// Takes note at `now_ms` of an announcement from `source` that the host `mon_name` has the
    /// state `state`; `None` where only its address is known. Whether it is news: otherwise the
    /// same was heard before.
    ///
    /// One that named nobody we know is to be noted too: when it is repeated the host may be a
    /// client.
    #[must_use]
    pub fn hear(
        &mut self,
        now_ms: u64,
        source: IpAddr,
        mon_name: Option<&[u8]>,
        state: i32,
    ) -> bool {
        let over = |heard: &Heard| now_ms.saturating_sub(heard.since_ms) >= REMEMBERED_MS;
        while self.heard.front().is_some_and(over) {
            self.heard.pop_front();
        }
        let source = source.to_canonical();
        let before = self.heard.iter().position(|heard| heard.is_of(source, mon_name));
        if before.is_some_and(|index| self.heard[index].state == state) {
            return false;
        }
        match before {
            Some(index) => drop(self.heard.remove(index)),
            None => self.make_room(source),
        }
        let mon_name = mon_name.map(<[u8]>::to_vec);
        self.heard.push_back(Heard { since_ms: now_ms, source, mon_name, state });
        true
    }

    /// Forgets an announcement: what it asked for could not be done, and when it is repeated it is
    /// to be.
    pub fn forget(&mut self, source: IpAddr, mon_name: Option<&[u8]>, state: i32) {
        let source = source.to_canonical();
        self.heard.retain(|heard| heard.state != state || !heard.is_of(source, mon_name));
    }

    fn make_room(&mut self, source: IpAddr) {
        let own = self.heard.iter().filter(|heard| heard.source == source).count();
        if own >= REMEMBERED_PER_SOURCE_MAX {
            let oldest = self.heard.iter().position(|heard| heard.source == source);
            oldest.map(|index| self.heard.remove(index));
        } else if self.heard.len() >= REMEMBERED_MAX {
            self.heard.pop_front();
        }
    }
}

impl Heard {
    fn is_of(&self, source: IpAddr, mon_name: Option<&[u8]>) -> bool {
        let named = match (self.mon_name.as_deref(), mon_name) {
            (Some(known), Some(name)) => known.eq_ignore_ascii_case(name),
            (known, name) => known == name,
        };
        self.source == source && named
    }
}
