"""Verify that an image runs on an engine that has never seen it: environments, checks and the report."""
