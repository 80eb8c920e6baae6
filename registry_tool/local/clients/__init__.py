"""What other programs on a machine need, so that they use a registry: files, and where these belong."""
