"""Where a registry's bytes are: its storage file by file, the account of them, and what a collection would free."""
