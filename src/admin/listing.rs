//! What the core tells of claims and clients, as lines of an answer.

use cleat_lock::{
    Access, Claim, ClaimState, Claimed, ClientView, Mode, Obstacle as CoreObstacle, Owner,
};
use cleat_nlm::owner::PREFIX;
use cleat_nlm::{ClientName, Note};

use super::paths::{Paths, hexadecimal};
use super::wire::{ClaimLine, ClientLine, Kind, Obstacle, PathText, Released, State};
use crate::vfs::Whereabouts;

/// The most of what was released that the log names.
const LOGGED_MAX: usize = 8;

/// A claim as a line. Finding its path may block.
pub(super) fn claim_line(claim: Claim, paths: &mut Paths, now_ms: u64) -> ClaimLine {
    let whereabouts = paths.find(&claim.file);
    let (mut path, mut deleted, mut inode) = (None, false, None);
    match whereabouts {
        Some(Whereabouts::At(at)) => path = Some(PathText::from(&*at)),
        Some(Whereabouts::Deleted(last)) => {
            (path, deleted) = (last.as_deref().map(PathText::from), true);
        }
        Some(Whereabouts::Nameless { device, inode: number }) => inode = Some((device, number)),
        None => {}
    }
    let mut line = ClaimLine {
        id: claim.id.map(|id| id.uuid().to_string()),
        kind: Kind::Lock,
        state: State::Held,
        path,
        deleted,
        inode,
        file: hexadecimal(&claim.file),
        mode: None,
        offset: None,
        length: None,
        access: None,
        deny: None,
        client: shown(&claim.owner.client_id).to_owned(),
        svid: svid(&claim.owner),
        owner: claim.owner.owner_id.to_string(),
        export: claim.owner.share_name.to_string(),
        since_ms: claim.since_ms,
        age_ms: now_ms.saturating_sub(claim.since_ms),
        place: None,
        waits_for: Vec::new(),
        waits_for_more: 0,
    };
    match claim.what {
        Claimed::Range { range, mode } => {
            line.mode = Some(mode_text(mode).to_owned());
            (line.offset, line.length) = (Some(range.offset()), Some(range.length()));
        }
        Claimed::Share { access, deny } => {
            line.kind = Kind::Share;
            line.access = Some(access_text(access).to_owned());
            line.deny = Some(access_text(deny).to_owned());
        }
    }
    match claim.state {
        ClaimState::Held => {}
        ClaimState::Unacknowledged => line.state = State::Unacknowledged,
        ClaimState::Unreclaimed => line.state = State::Unreclaimed,
        ClaimState::Waiting(waiting) => {
            (line.kind, line.state) = (Kind::Request, State::Waiting);
            line.place = Some(waiting.ahead.saturating_add(1));
            line.waits_for = waiting.waits_for.iter().map(obstacle).collect();
            line.waits_for_more = waiting.more;
        }
    }
    line
}

fn obstacle(one: &CoreObstacle) -> Obstacle {
    Obstacle {
        id: one.id.uuid().to_string(),
        waiting: one.waiting,
        client: shown(&one.owner.client_id).to_owned(),
        svid: svid(&one.owner),
        owner: one.owner.owner_id.to_string(),
    }
}

/// The client's number for an owner of NLM.
fn svid(owner: &Owner) -> Option<u32> {
    let nlm = owner.owner_id.starts_with(PREFIX);
    nlm.then(|| Note::of(&owner.owner_id, &owner.note).svid)
}

/// A client as people know it: `name@address`, where the name has no odd byte that is not escaped.
pub(super) fn shown(client_id: &str) -> &str {
    client_id.strip_prefix(PREFIX).unwrap_or(client_id)
}

const fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "shared",
        Mode::Exclusive => "exclusive",
    }
}

const fn access_text(access: Access) -> &'static str {
    match access {
        Access::None => "none",
        Access::Read => "read",
        Access::Write => "write",
        Access::Both => "both",
    }
}

/// What was released, for the log.
pub(super) fn summary(released: &Released) -> String {
    let mut parts: Vec<String> = released.claims.iter().take(LOGGED_MAX).map(in_words).collect();
    let all = released.locks + released.shares + released.waiters;
    let more = all.saturating_sub(parts.len() as u64);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join(", ")
}

fn in_words(line: &ClaimLine) -> String {
    let what = match (&line.access, &line.deny) {
        (Some(access), Some(deny)) => format!("share {access} deny {deny}"),
        _ => {
            let (first, length) = (line.offset.unwrap_or(0), line.length.unwrap_or(0));
            let last = match length {
                0 => "EOF".to_owned(),
                length => first.saturating_add(length - 1).to_string(),
            };
            format!("{first}-{last} {}", line.mode.as_deref().unwrap_or_default())
        }
    };
    let waits = if line.kind == Kind::Request { "request for " } else { "" };
    let svid = line.svid.map(|svid| format!(" svid {svid}")).unwrap_or_default();
    let file = line.path.as_ref().map_or_else(|| format!("file {}", line.file), quoted);
    format!("{waits}{what} of {}{svid} on {file}", line.client)
}

/// A path that is one word of a line, whatever its bytes.
pub(super) fn quoted(path: &PathText) -> String {
    match path {
        PathText::Text(text) => format!("{text:?}"),
        PathText::Bytes(bytes) => format!("\"{}\"", bytes.escape_ascii()),
    }
}

/// A client as a line.
pub(super) fn client_line(client: &ClientView, unreclaimed: u64) -> ClientLine {
    let name = ClientName::parse(&client.client_id);
    let (name, address) = name.map(|name| (name.caller_name, name.address)).unzip();
    ClientLine {
        client: shown(&client.client_id).to_owned(),
        name: name.map(|name| String::from_utf8_lossy(&name).into_owned()),
        address: address.map(|address| address.to_string()),
        since_ms: client.record.as_ref().map(|record| record.since_ms),
        seen_ms: (client.seen_ms > 0).then_some(client.seen_ms),
        nsm_state: client.record.as_ref().map(|record| record.incarnation),
        locks: client.locks,
        shares: client.shares,
        waiters: client.waiters,
        unreclaimed,
    }
}

/// Whether a client is the one that people call so: by its whole name in the lock table, by
/// `name@address`, by its name, or by its address.
pub(super) fn is_called(client_id: &str, called: &str) -> bool {
    if client_id == called || shown(client_id) == called {
        return true;
    }
    ClientName::parse(client_id).is_some_and(|name| {
        name.caller_name == called.as_bytes()
            || called
                .parse()
                .is_ok_and(|address: std::net::IpAddr| address.to_canonical() == name.address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_called_by_its_name_its_address_or_both() {
        let client_id = "nlm:host%20one@10.0.0.2";
        for called in [client_id, "host%20one@10.0.0.2", "host one", "10.0.0.2", "::ffff:10.0.0.2"]
        {
            assert!(is_called(client_id, called), "{called}");
        }
        for called in ["host", "host%20one", "10.0.0.3", "host one@10.0.0.2", ""] {
            assert!(!is_called(client_id, called), "{called}");
        }
        assert!(is_called("smb:session456", "smb:session456"));
    }
}
