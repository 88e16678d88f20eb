//! Cleat, an NFSv3 server whose locks hold: everything that touches the world.
