"""Images in archives and layouts: exported for another machine, and imported there."""
