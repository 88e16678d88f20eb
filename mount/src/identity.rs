//! Whom the server acts as for a call.

use cleat_rpc::Credential;

use crate::options::{Options, Squash};

/// The number that is no user and no group: the kernel takes it for "unchanged" in the calls
/// that switch identity, so it must never reach them.
const NOBODY_AT_ALL: u32 = u32::MAX;
const ROOT: u32 = 0;

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

    /// The caller after squashing, by the rules of exports(5) as knfsd has them: AUTH_NONE and
    /// `all_squash` become the anonymous user without supplementary groups; `root_squash`
    /// replaces user 0, group 0 and every supplementary group 0, each on its own.
    #[must_use]
    pub fn squashed(credential: &Credential, options: &Options) -> Self {
        let anonymous = || Self { uid: options.anon_uid, gid: options.anon_gid, gids: Vec::new() };
        let Credential::Sys(sys) = credential else {
            return anonymous();
        };
        let squash = |id, anon| {
            let root = id == ROOT && options.squash == Squash::Root;
            if root || id == NOBODY_AT_ALL { anon } else { id }
        };
        match options.squash {
            Squash::All => anonymous(),
            Squash::Root | Squash::None => Self {
                uid: squash(sys.uid, options.anon_uid),
                gid: squash(sys.gid, options.anon_gid),
                gids: sys.gids.iter().map(|gid| squash(*gid, options.anon_gid)).collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cleat_rpc::AuthSys;

    fn sys(uid: u32, gid: u32, gids: &[u32]) -> Credential {
        Credential::Sys(AuthSys { uid, gid, gids: gids.to_vec(), ..AuthSys::default() })
    }

    fn identity(uid: u32, gid: u32, gids: &[u32]) -> Identity {
        Identity { uid, gid, gids: gids.to_vec() }
    }

    #[test]
    fn squashing_follows_exports_5() {
        let max = u32::MAX;
        let table = [
            ("", sys(1000, 100, &[4, 27]), identity(1000, 100, &[4, 27])),
            ("", sys(0, 0, &[0, 4]), identity(65534, 65534, &[65534, 4])),
            ("", sys(1000, 0, &[]), identity(1000, 65534, &[])),
            ("", Credential::None, identity(65534, 65534, &[])),
            ("no_root_squash", sys(0, 0, &[0]), identity(0, 0, &[0])),
            ("no_root_squash", Credential::None, identity(65534, 65534, &[])),
            ("no_root_squash", sys(max, max, &[max]), identity(65534, 65534, &[65534])),
            ("all_squash", sys(1000, 100, &[4]), identity(65534, 65534, &[])),
            ("all_squash,anonuid=5,anongid=6", sys(0, 0, &[0]), identity(5, 6, &[])),
            ("anonuid=5,anongid=6", sys(0, 0, &[0]), identity(5, 6, &[6])),
        ];
        for (words, credential, expected) in table {
            let options = Options::parse(words).expect(words);
            assert_eq!(Identity::squashed(&credential, &options), expected, "{words}");
        }
    }
}
