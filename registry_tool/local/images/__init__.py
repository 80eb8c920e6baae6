"""Images by name on the engine: resolved, pushed, pulled, and what a build needs."""
