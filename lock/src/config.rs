//! What an operator may set about the core.

/// Settings of a core; fixed for its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bounds on what the table holds.
    pub limits: Limits,
    /// Keep recorded waiters over a restart, in their order. Else they are deleted at the first
    /// step and their clients have to ask again. Default true.
    pub keep_waiters: bool,
    /// What new locks wait for after a restart. Default [`Recovery::Strict`].
    pub recovery: Recovery,
    /// How long locks that were not reclaimed stand beyond the end of the time for reclaiming while
    /// their client has not heard of the restart, in milliseconds from that end; 0 = they are
    /// dropped then. A further restart begins anew. Default 0.
    pub unreachable_hold_ms: u64,
    /// How long what a client has outlives its connection, in milliseconds; 0 = not at all. For
    /// clients of protocols that say [`Input::Disconnected`](crate::Input::Disconnected). Default
    /// 30,000.
    pub disconnect_ttl_ms: u64,
    /// How long a request waits at most that does not say so itself ([`Wait::timeout_ms`]), in
    /// milliseconds; 0 = for ever. Default 60,000.
    ///
    /// [`Wait::timeout_ms`]: crate::Wait::timeout_ms
    pub blocking_timeout_ms: u64,
    /// How long a request that nothing held forbids yields at most to one that came before it and is
    /// still kept waiting, in milliseconds from its own arrival; 0 = not at all. Only a request that
    /// waits does so, of an owner that holds nothing, for a client that holds nothing on the file. It
    /// keeps a stream of shared locks from shutting an exclusive one out: whoever holds its locks for
    /// less than this delays the foremost request by no more than it holds them. Default 5,000.
    pub fair_wait_ms: u64,
    /// The most locks and shares of a client that one step releases where all of them go: others are
    /// answered between two steps. Default 2,048.
    pub release_step: usize,
    /// Clients whose names are alike after the last such character come from one source, a host
    /// say, which may call itself what it likes; `None` = sources are not told apart. Default
    /// `None`.
    pub source_mark: Option<char>,
    /// Makes the places of names in the core's hash tables unpredictable for clients. Give it a
    /// random number per start: no order and no outcome depends on it. Default 0.
    pub hash_seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            limits: Limits::default(),
            keep_waiters: true,
            recovery: Recovery::Strict,
            unreachable_hold_ms: 0,
            disconnect_ttl_ms: 30_000,
            blocking_timeout_ms: 60_000,
            fair_wait_ms: 5_000,
            release_step: 2048,
            source_mark: None,
            hash_seed: 0,
        }
    }
}

/// What new locks wait for after a restart with locks on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// The grace window: until every lock on record is reclaimed or released, or its time is over,
    /// reclaims alone are admitted.
    #[default]
    Strict,
    /// Nothing but what is on record, where that is exact: a new lock is granted at once where no
    /// lock on record is in its way. A reclaim of what is not on record is refused: whatever was
    /// acknowledged is there unless it was taken away, and others may have had it since. Where the
    /// records are advice this is [`Recovery::Strict`].
    Instant,
}

/// Bounds, each a count. A request that would pass one is refused and changes nothing.
///
/// What a client held before is not refused. The roll-back of a grant may pass a limit, and so may
/// one whose answer was lost over what a former life of its client left. One that is acknowledged
/// does not: where there is no room for the parts of what was held in a stronger mode, that stays.
/// A reclaim of what is on record does not either, and is not refused: where there is no room for the
/// parts of a lock, one that reclaims a part of it gets the whole. Over records that are advice the
/// rest may be somebody else's, and such a reclaim is refused.
///
/// What a client shows of itself by a request counts though that is refused: a new life of it, which
/// ends the waits and takes back the grants of the former, and that it knows of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Locks on one file, counted by piece. Default 1,000,000.
    pub locks_per_file: u64,
    /// Locks of one client, counted by piece. Default 1,000,000.
    pub locks_per_client: u64,
    /// Locks in the table, counted by piece. Default 10,000,000.
    pub locks_total: u64,
    /// Requests waiting on one file. Default 10,000.
    pub waiters_per_file: u64,
    /// Requests waiting for one client. Default 10,000.
    pub waiters_per_client: u64,
    /// Share reservations on one file. Default 1,000,000.
    pub shares_per_file: u64,
    /// Share reservations of one client. Default 1,000,000.
    pub shares_per_client: u64,
    /// Share reservations in the table. Default 10,000,000.
    pub shares_total: u64,
    /// Clients known at the same time. One more takes the place of those that hold and await
    /// nothing, and is refused where all do. Default 100,000.
    pub clients: u64,
    /// The same of clients of one source: see [`Config::source_mark`]. Default 1,024.
    pub clients_per_source: u64,
    /// Locks, waiting requests and share reservations of all clients of one source together, so that
    /// one host cannot take the whole table. Default 2,000,000.
    pub claims_per_source: u64,
    /// Bytes of the names of the owners that one source's clients have: they name them as they like.
    /// Default 64 MiB.
    pub owner_bytes_per_source: u64,
    /// The same of all owners. Default 1 GiB.
    pub owner_bytes_total: u64,
    /// Obstacles looked at in one search for a deadlock. A request for which that is not enough
    /// waits, as one that did not ask for the search. Default 200,000: some milliseconds.
    pub deadlock_edges: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            locks_per_file: 1_000_000,
            locks_per_client: 1_000_000,
            locks_total: 10_000_000,
            waiters_per_file: 10_000,
            waiters_per_client: 10_000,
            shares_per_file: 1_000_000,
            shares_per_client: 1_000_000,
            shares_total: 10_000_000,
            clients: 100_000,
            clients_per_source: 1024,
            claims_per_source: 2_000_000,
            owner_bytes_per_source: 64 << 20,
            owner_bytes_total: 1 << 30,
            deadlock_edges: 200_000,
        }
    }
}

impl Limits {
    /// A profile for small machines: 1,000 locks a file, 10,000 a client, 100,000 in all, as many
    /// shares, 1,000 waiters a file and a client, 1,000 clients, 100 of a source.
    #[must_use]
    pub fn conservative() -> Self {
        Limits {
            locks_per_file: 1_000,
            locks_per_client: 10_000,
            locks_total: 100_000,
            waiters_per_file: 1_000,
            waiters_per_client: 1_000,
            shares_per_file: 1_000,
            shares_per_client: 10_000,
            shares_total: 100_000,
            clients: 1_000,
            clients_per_source: 100,
            claims_per_source: 20_000,
            owner_bytes_per_source: 4 << 20,
            owner_bytes_total: 64 << 20,
            deadlock_edges: 20_000,
        }
    }
}
