"""The points at one place, in their order: from the name to the end of a container."""
