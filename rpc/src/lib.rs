//! ONC RPC and XDR as bytes and types: no sockets, no clock.
