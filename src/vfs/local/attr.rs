//! Attributes: who has which rights, and how they are changed.

use std::os::fd::AsRawFd;

use cleat_mount::Identity;
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::LocalFs;
use super::identity::{act_as, acting_uid};
use super::open::{Node, regular};
use super::stat::{MODE_BITS, may};
use crate::vfs::{
    ACCESS_DELETE, ACCESS_EXECUTE, ACCESS_EXTEND, ACCESS_LOOKUP, ACCESS_MODIFY, ACCESS_READ,
    AccessBits, FileHandle, FsError, Kind, Result, SetAttributes, SetTime, Timestamp, Wcc,
};

const MODE_SET_ID: u32 = 0o6000;
const SECOND_NS: u32 = 1_000_000_000;

impl LocalFs {
    /// SETATTR (RFC 1813 3.3.2).
    pub(super) fn change_attributes(
        &self,
        who: &Identity,
        file: &FileHandle,
        set: &SetAttributes,
        guard: Option<Timestamp>,
        wcc: &mut Wcc,
    ) -> Result<()> {
        let changing = self.changes.begin(file);
        let node = self.resolve(file)?;
        {
            let _others_wait = self.changes.one_by_one(&node.stat);
            let before = self.stat(&node)?.attributes;
            *wcc = Wcc { before: Some(before), after: Some(before) };
            if guard.is_some_and(|ctime| ctime != before.changed) {
                return Err(FsError::NotSync);
            }
            let result = self.apply_attributes(who, &node, set);
            wcc.after = self.after(&node);
            changing.judge(wcc);
            result?;
        }
        self.sync_attributes(&node)
    }

    /// Makes the changes in an order in which none undoes another, and none is made where one is
    /// bound to be refused.
    pub(super) fn apply_attributes(
        &self,
        who: &Identity,
        node: &Node,
        set: &SetAttributes,
    ) -> Result<()> {
        let uid = acting_uid(who);
        let owner = uid == 0 || uid == node.stat.attributes.uid;
        let mut sets_time = false;
        for how in [set.accessed, set.modified] {
            let SetTime::To(time) = how else { continue };
            // Past a second lie the kernel's own words for "now" and "keep" (utimensat(2)).
            if time.nanoseconds >= SECOND_NS {
                return Err(Errno::INVAL.into());
            }
            sets_time = true;
        }
        let sets_owner = set.uid.is_some() || set.gid.is_some();
        if !owner && (set.mode.is_some() || sets_time || sets_owner) {
            return Err(Errno::PERM.into());
        }
        let _acting = act_as(who)?;
        let sized = match set.size {
            None => None,
            Some(size) => {
                regular(node)?;
                i64::try_from(size).map_err(|_| Errno::FBIG)?;
                Some((self.open_to_write(who, node)?, size))
            }
        };
        if sets_owner {
            change_owner(node, set.uid, set.gid)?;
        }
        if let Some((file, size)) = sized {
            rustix::fs::ftruncate(file, size)?;
        }
        // A change of owner or of content clears set-user-ID; what the caller asks for stands.
        if let Some(mode) = set.mode {
            self.change_mode(node, mode)?;
        }
        let modified = match set.modified {
            // ftruncate(2) did it, for who may write but does not own the file.
            SetTime::Now if set.size.is_some() => SetTime::Keep,
            other => other,
        };
        change_times(node, set.accessed, modified)
    }

    /// The attributes that a file was not made with. Only root gives files away: of others, some
    /// clients send an owner that they made up (knfsd ignores it as well).
    pub(super) fn finish_attributes(
        &self,
        who: &Identity,
        node: &Node,
        set: &SetAttributes,
    ) -> Result<bool> {
        let mut rest = SetAttributes { mode: None, ..*set };
        rest.size =
            set.size.filter(|size| *size != 0 && node.stat.attributes.kind == Kind::Regular);
        if acting_uid(who) != 0 {
            (rest.uid, rest.gid) = (None, None);
        }
        if set.mode.is_some_and(|mode| mode & MODE_SET_ID != 0)
            && node.stat.attributes.kind != Kind::Symlink
        {
            // mkdir(2) ignores these bits, and a change of owner clears them.
            rest.mode = set.mode;
        }
        if rest == SetAttributes::default() {
            return Ok(false);
        }
        self.apply_attributes(who, node, &rest)?;
        Ok(true)
    }

    pub(super) fn change_mode(&self, node: &Node, mode: u32) -> Result<()> {
        if node.stat.attributes.kind == Kind::Symlink {
            // Nobody asks a symbolic link for its mode.
            return Ok(());
        }
        // fchmod(2) takes no O_PATH descriptor, and fchmodat2(2) is younger than Debian 12.
        let name = node.fd.as_raw_fd().to_string();
        let mode = Mode::from_raw_mode(mode & MODE_BITS);
        Ok(rustix::fs::chmodat(&self.descriptors, name, mode, AtFlags::empty())?)
    }

    /// ACCESS (RFC 1813 3.3.4): the kernel's own judgement, in the groups of rights that the Linux
    /// server asks about. The owner's override is not for here: it is for what is already open.
    pub(super) fn rights(
        &self,
        who: &Identity,
        node: &Node,
        wanted: AccessBits,
    ) -> Result<AccessBits> {
        const R: libc::c_int = libc::R_OK;
        const W: libc::c_int = libc::W_OK;
        const X: libc::c_int = libc::X_OK;
        let questions: &[(AccessBits, libc::c_int)] = match node.stat.attributes.kind {
            Kind::Directory => &[
                (ACCESS_READ, R),
                (ACCESS_LOOKUP, X),
                (ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE, W | X),
            ],
            _ => &[(ACCESS_READ, R), (ACCESS_MODIFY | ACCESS_EXTEND, W), (ACCESS_EXECUTE, X)],
        };
        let _acting = act_as(who)?;
        let mut granted = 0;
        for (bits, mode) in questions {
            if wanted & bits != 0 && may(node, *mode) {
                granted |= wanted & bits;
            }
        }
        Ok(granted)
    }
}

fn change_owner(node: &Node, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
        return Err(Errno::INVAL.into());
    }
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(rustix::fs::chownat(&node.fd, "", uid, gid, AtFlags::EMPTY_PATH)?)
}

fn change_times(node: &Node, accessed: SetTime, modified: SetTime) -> Result<()> {
    if accessed == SetTime::Keep && modified == SetTime::Keep {
        return Ok(());
    }
    let touch = |accessed, modified| {
        let times =
            Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) };
        rustix::fs::utimensat(&node.fd, "", &times, AtFlags::EMPTY_PATH)
    };
    match touch(accessed, modified) {
        // Who may write but does not own the file may touch it, both times at once (utimensat(2)).
        Err(Errno::PERM)
            if !matches!(accessed, SetTime::To(_)) && !matches!(modified, SetTime::To(_)) =>
        {
            Ok(touch(SetTime::Now, SetTime::Now)?)
        }
        other => Ok(other?),
    }
}

fn timespec(set: SetTime) -> Timespec {
    match set {
        SetTime::Keep => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        SetTime::Now => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        SetTime::To(time) => Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() },
    }
}
