"""Authentication: keys, tokens, network addresses and revocation."""
