//! MOUNT: the export table, who may use it, and the mount table.
