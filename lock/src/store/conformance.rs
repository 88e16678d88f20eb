//! What every store has to do, as one suite: run it on each implementation.
