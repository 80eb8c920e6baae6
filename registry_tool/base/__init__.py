"""Errors, progress, files, folders and threads: nothing of registries."""
