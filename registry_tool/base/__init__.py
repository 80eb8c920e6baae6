"""What every room uses and nothing of registries: errors, addresses, deadlines, files, folders, progress."""
