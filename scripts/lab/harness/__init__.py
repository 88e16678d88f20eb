"""A lab of real NFS clients: user-mode-linux guests on a bridge with the server under test."""
