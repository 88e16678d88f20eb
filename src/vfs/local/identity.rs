//! Lets one thread act as a caller, so that the kernel itself judges what the caller may do.
//!
//! Linux keeps credentials by thread; glibc's wrappers spread a change over the whole process, so
//! the raw calls are used. Leaving fsuid 0 makes the kernel drop the capabilities that override
//! file permissions, and going back to 0 returns them (capabilities(7)).

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::OnceLock;

use cleat_mount::Identity;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::Gid;
use rustix::thread::CapabilitySet;

use crate::vfs::Result;

/// Somebody without any right, to try a switch with.
const PROBE_ID: u32 = 65534;
/// Sets nothing and so only tells what is set (setfsuid(2)).
const ASK: u32 = u32::MAX;

/// What a thread may do to file permissions while it is nobody in particular.
const OVERRIDES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::MKNOD);

/// The process's own identity, where it may switch to others.
static OWN: OnceLock<Option<Own>> = OnceLock::new();

/// The server itself.
#[derive(Debug)]
struct Own {
    identity: Identity,
    /// Whether its groups let it in anywhere. Where it may override permissions they do not, and
    /// a thread keeps the groups of its last caller: each change costs as much as a small read.
    needs_groups: bool,
}

thread_local! {
    /// Whom this thread acts as; `None` until it first switched.
    static CURRENT: RefCell<Option<Identity>> = const { RefCell::new(None) };
}

/// Readies the process; call it at the start. Clears the umask: the modes that callers ask for are
/// theirs.
pub fn prepare_process() {
    rustix::process::umask(Mode::empty());
}

/// Whether callers are told apart. Where not (the server was not started by root, or was left
/// without the capabilities), everything acts as the user who started it.
#[must_use]
pub fn switches() -> bool {
    own().is_some()
}

/// Whom the kernel sees when `who` calls: `None` where callers are not told apart.
pub(super) fn acting_uid(who: &Identity) -> u32 {
    if switches() { who.uid } else { rustix::process::geteuid().as_raw() }
}

/// Acts as someone until dropped.
#[must_use]
pub(super) struct Acting {
    /// Whom to go back to; `None` where nothing was switched.
    previous: Option<Identity>,
    /// Credentials belong to the thread.
    _this_thread: PhantomData<*const ()>,
}

/// Lets this thread act as `who`.
pub(super) fn act_as(who: &Identity) -> Result<Acting> {
    let Some(own) = own() else { return Ok(Acting::unchanged()) };
    switch_to(own, who)
}

/// Lets this thread act as the server itself.
pub(super) fn act_as_server() -> Result<Acting> {
    match own() {
        Some(own) => switch_to(own, &own.identity),
        None => Ok(Acting::unchanged()),
    }
}

impl Acting {
    fn unchanged() -> Self {
        Self { previous: None, _this_thread: PhantomData }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        let (Some(previous), Some(own)) = (self.previous.take(), own()) else { return };
        let current = CURRENT.with_borrow(Clone::clone);
        let previous = own.settled(current.as_ref(), &previous);
        if apply(current.as_ref(), &previous).is_err() {
            // A thread stuck in a caller's identity must do nothing more in anybody's name.
            std::process::abort();
        }
        CURRENT.set(Some(previous));
    }
}

impl Own {
    /// What a thread is to become for `target`: the server, also where a caller is as mighty,
    /// needs a user and a group, which is that of the files it makes.
    fn settled(&self, current: Option<&Identity>, target: &Identity) -> Identity {
        if (target.uid, target.gid) != (self.identity.uid, self.identity.gid) {
            return target.clone();
        }
        match current {
            Some(current) if !self.needs_groups => {
                Identity { gids: current.gids.clone(), ..self.identity }
            }
            _ => self.identity.clone(),
        }
    }
}

fn switch_to(own: &Own, target: &Identity) -> Result<Acting> {
    let current = CURRENT.with_borrow(Clone::clone);
    let target = own.settled(current.as_ref(), target);
    if current.as_ref() == Some(&target) || (current.is_none() && target == own.identity) {
        return Ok(Acting::unchanged());
    }
    // A thread that never switched has the identity of the one that started it.
    let previous = current.clone().unwrap_or_else(|| own.identity.clone());
    if let Err(errno) = apply(current.as_ref(), &target) {
        if apply(None, &previous).is_err() {
            std::process::abort();
        }
        CURRENT.set(Some(previous));
        return Err(errno.into());
    }
    CURRENT.set(Some(target));
    Ok(Acting { previous: Some(previous), _this_thread: PhantomData })
}

/// Makes the thread's credentials those of `to`, and makes sure of it.
fn apply(from: Option<&Identity>, to: &Identity) -> std::result::Result<(), Errno> {
    if from.is_none() {
        give_up_resources()?;
    }
    if from.is_none_or(|from| from.gids != to.gids) {
        if to.gids.contains(&u32::MAX) {
            return Err(Errno::PERM);
        }
        let gids: Vec<Gid> = to.gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&gids)?;
    }
    if from.is_none_or(|from| from.gid != to.gid) {
        set_fs_id(libc::SYS_setfsgid, to.gid);
    }
    set_fs_id(libc::SYS_setfsuid, to.uid);
    // The calls cannot fail, only do nothing.
    if set_fs_id(libc::SYS_setfsgid, ASK) != to.gid || set_fs_id(libc::SYS_setfsuid, ASK) != to.uid
    {
        return Err(Errno::PERM);
    }
    Ok(())
}

/// Lets the thread go without CAP_SYS_RESOURCE, which stays with a thread whoever it acts as and
/// would let every caller past quotas and into the blocks kept for root.
fn give_up_resources() -> std::result::Result<(), Errno> {
    let mut sets = rustix::thread::capabilities(None)?;
    if sets.effective.contains(CapabilitySet::SYS_RESOURCE) {
        sets.effective.remove(CapabilitySet::SYS_RESOURCE);
        rustix::thread::set_capabilities(None, sets)?;
    }
    Ok(())
}

/// Returns what was set before.
fn set_fs_id(call: libc::c_long, id: u32) -> u32 {
    // SAFETY: setfsuid and setfsgid take one number and touch no memory.
    let previous = unsafe { libc::syscall(call, id) };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a 32-bit id")]
    let previous = previous as u32;
    previous
}

fn own() -> Option<&'static Own> {
    OWN.get_or_init(|| {
        // In a thread of its own, which ends whatever it became.
        std::thread::Builder::new().spawn(probe).ok()?.join().ok()?
    })
    .as_ref()
}

/// Finds out whether this process can become others and loses its rights by it.
fn probe() -> Option<Own> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let groups = rustix::process::getgroups().ok()?;
    let own = Identity {
        uid: set_fs_id(libc::SYS_setfsuid, ASK),
        gid: set_fs_id(libc::SYS_setfsgid, ASK),
        gids: groups.iter().map(|gid| gid.as_raw()).collect(),
    };
    let nobody = Identity { uid: PROBE_ID, gid: PROBE_ID, gids: vec![PROBE_ID] };
    let held = || rustix::thread::capabilities(None).ok().map(|sets| sets.effective);
    let before = held()?;
    apply(None, &nobody).ok()?;
    let while_nobody = held()?;
    apply(None, &own).ok()?;
    let told_apart = own.uid == 0 && !while_nobody.intersects(OVERRIDES);
    let needs_groups = !before.contains(CapabilitySet::DAC_OVERRIDE);
    told_apart.then_some(Own { identity: own, needs_groups })
}

/// [`switches`], for tests: where every test is to run, in CI, they fail without it.
#[cfg(test)]
pub(super) fn tells_users_apart() -> bool {
    let told_apart = switches();
    assert!(told_apart || std::env::var_os("CI").is_none(), "CI is to run every test, and as root");
    told_apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::FsError;

    fn someone(uid: u32) -> Identity {
        Identity { uid, gid: uid + 1, gids: vec![uid + 2, uid + 3] }
    }

    fn groups() -> Vec<u32> {
        rustix::process::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect()
    }

    /// What decides where the server gets in and whose files it makes.
    fn credentials() -> (u32, u32, CapabilitySet) {
        let held = rustix::thread::capabilities(None).unwrap().effective;
        let held = held.difference(CapabilitySet::SYS_RESOURCE);
        (set_fs_id(libc::SYS_setfsuid, ASK), set_fs_id(libc::SYS_setfsgid, ASK), held)
    }

    #[test]
    fn nests_and_comes_back() {
        let before = credentials();
        {
            let _outer = act_as(&someone(1000)).unwrap();
            {
                let _inner = act_as_server().unwrap();
                assert_eq!(credentials(), before);
            }
            if tells_users_apart() {
                let (uid, gid, held) = credentials();
                assert_eq!((uid, gid, groups()), (1000, 1001, vec![1002, 1003]));
                assert!(!held.intersects(OVERRIDES));
            }
        }
        assert_eq!(credentials(), before);
    }

    #[test]
    fn comes_back_when_unwinding() {
        let before = credentials();
        let result = std::panic::catch_unwind(|| {
            let _acting = act_as(&someone(1000)).unwrap();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(result.is_err());
        assert_eq!(credentials(), before);
    }

    #[test]
    fn an_identity_that_cannot_be_is_refused() {
        if !tells_users_apart() {
            return;
        }
        let before = credentials();
        for (uid, gid, gids) in
            [(u32::MAX, 1, vec![]), (1, u32::MAX, vec![]), (1, 1, vec![u32::MAX])]
        {
            let refused = act_as(&Identity { uid, gid, gids }).err();
            assert_eq!(refused, Some(FsError::Os(Errno::PERM)));
            assert_eq!(credentials(), before);
        }
        // Nothing is left of what was refused.
        let groupless = Identity { uid: 1000, gid: 1001, gids: vec![] };
        let _acting = act_as(&groupless).unwrap();
        assert_eq!(groups(), Vec::<u32>::new());
    }

    #[test]
    fn threads_do_not_see_each_other() {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                std::thread::spawn(move || {
                    let own = credentials();
                    for round in 0..2000 {
                        let who = someone(1000 + n * 10_000 + round);
                        let _acting = act_as(&who).unwrap();
                        if tells_users_apart() {
                            let (uid, gid, _) = credentials();
                            assert_eq!((uid, gid, groups()), (who.uid, who.gid, who.gids.clone()));
                        }
                    }
                    assert_eq!(credentials(), own);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
