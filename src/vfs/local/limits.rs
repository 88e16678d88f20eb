//! FSSTAT, FSINFO and PATHCONF: what the file system has and what it can.

use rustix::io::Errno;

use super::LocalFs;
use crate::vfs::{FileHandle, FsLimits, FsStat, Result};

// The numbers of linux/magic.h.
const EXT: u64 = 0xef53;
const XFS: u64 = 0x5846_5342;
const BTRFS: u64 = 0x9123_683e;
const F2FS: u64 = 0xf2f5_2010;
const TMPFS: u64 = 0x0102_1994;
const FAT: u64 = 0x4d44;
const EXFAT: u64 = 0x2011_bab0;
const OVERLAY: u64 = 0x794c_7630;

const FILE_BYTES_MAX: u64 = i64::MAX as u64;
const SECOND_NS: u64 = 1_000_000_000;

/// What differs by the kind of file system: a file's bytes, the step of its times, its links.
struct Traits {
    file_bytes_max: u64,
    time_step_ns: u64,
    links_max: u32,
    links: bool,
}

impl LocalFs {
    /// FSSTAT (RFC 1813 3.3.18). "Available" is what anybody but root may use.
    pub(super) fn space(&self, file: &FileHandle) -> Result<FsStat> {
        let stat = rustix::fs::fstatvfs(self.resolve(file)?)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(FsStat {
            total_bytes: bytes(stat.f_blocks),
            free_bytes: bytes(stat.f_bfree),
            available_bytes: bytes(stat.f_bavail),
            total_files: stat.f_files,
            free_files: stat.f_ffree,
            available_files: stat.f_favail,
        })
    }

    /// FSINFO and PATHCONF (RFC 1813 3.3.19 and 3.3.20).
    pub(super) fn limits(&self, file: &FileHandle) -> Result<FsLimits> {
        let node = self.resolve(file)?;
        let stat = rustix::fs::fstatfs(&node)?;
        let block_bytes = u64::try_from(stat.f_bsize).map_err(|_| Errno::IO)?;
        let traits = traits(file_system(&stat), block_bytes, node.stat.born.is_some());
        Ok(FsLimits {
            file_bytes_max: traits.file_bytes_max,
            time_step_ns: traits.time_step_ns,
            links_max: traits.links_max,
            name_bytes_max: u32::try_from(stat.f_namelen).unwrap_or(u32::MAX),
            hard_links: traits.links,
            symlinks: traits.links,
            chown_restricted: true,
        })
    }
}

/// The finest step of a time that a file system keeps, in nanoseconds.
pub(super) fn time_step_ns(stat: &rustix::fs::StatFs, keeps_birth: bool) -> u64 {
    traits(file_system(stat), 0, keeps_birth).time_step_ns
}

/// Whether files change their time of birth during their life.
pub(super) fn born_changes(stat: &rustix::fs::StatFs) -> bool {
    file_system(stat) == OVERLAY
}

fn file_system(stat: &rustix::fs::StatFs) -> u64 {
    // Some of the numbers have their top bit set in 32, and the field may be signed.
    #[expect(clippy::cast_sign_loss, reason = "a bit pattern")]
    let number = stat.f_type as u64;
    number & 0xffff_ffff
}

/// The kernel does not tell most of these; where a kind is unknown, the widest is said.
fn traits(file_system: u64, block_bytes: u64, keeps_birth: bool) -> Traits {
    let common = Traits {
        file_bytes_max: FILE_BYTES_MAX,
        time_step_ns: 1,
        links_max: u32::from(u16::MAX),
        links: true,
    };
    match file_system {
        EXT => Traits {
            // Block numbers within a file have 32 bits.
            file_bytes_max: block_bytes.saturating_mul(u32::MAX.into()),
            // Inodes of 128 bytes hold whole seconds, and no time of birth.
            time_step_ns: if keeps_birth { 1 } else { SECOND_NS },
            links_max: 65_000,
            ..common
        },
        XFS | TMPFS => Traits { links_max: i32::MAX.unsigned_abs(), ..common },
        BTRFS => Traits { links_max: 65_535, ..common },
        F2FS => Traits { file_bytes_max: 4_329_690_886_144, ..common },
        FAT => Traits {
            file_bytes_max: u32::MAX.into(),
            time_step_ns: 2 * SECOND_NS,
            links_max: 1,
            links: false,
        },
        EXFAT => Traits { time_step_ns: SECOND_NS / 100, links_max: 1, links: false, ..common },
        _ => common,
    }
}
