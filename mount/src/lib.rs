//! MOUNT: the export table, who may use it, and the mount table. No I/O.

/// Whom the server acts as for a call: the caller after squashing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups, at most 16 (RFC 5531 appendix A).
    pub gids: Vec<u32>,
}

impl Identity {
    /// The server's own hand, for what no caller asked for.
    pub const ROOT: Self = Self { uid: 0, gid: 0, gids: Vec::new() };
}
