//! Where a change of names or attributes reaches storage before it is answered.
//!
//! RFC 1813 1.3 and 4.8 ask for it of every procedure that changes something, and a client that
//! has its answer forgets its copy. One place, so that one switch turns it off: the `sync` of
//! [`super::LocalOptions`].

use super::LocalFs;
use super::identity::act_as_server;
use super::open::Node;
use crate::vfs::{Kind, Result};

impl LocalFs {
    /// After names were made, moved or removed in these directories.
    pub(super) fn sync_names(&self, dirs: &[&Node]) -> Result<()> {
        if !self.options.sync {
            return Ok(());
        }
        let _server = act_as_server()?;
        dirs.iter().try_for_each(|dir| Ok(rustix::fs::fsync(self.reopen_to_sync(dir)?)?))
    }

    /// After attributes were changed.
    pub(super) fn sync_attributes(&self, node: &Node) -> Result<()> {
        if !self.options.sync {
            return Ok(());
        }
        let _server = act_as_server()?;
        match node.stat.attributes.kind {
            Kind::Regular | Kind::Directory => Ok(rustix::fs::fsync(self.reopen_to_sync(node)?)?),
            // Neither a symbolic link nor a device can be opened to be synced, and the sync of the
            // directory that names it does not reach what changed in its own inode alone.
            _ => Ok(rustix::fs::syncfs(&self.root)?),
        }
    }
}
