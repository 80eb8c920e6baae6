"""The story of an image: up, build, tag, push, remove, pull, run, look. Rooms below are joined here and nowhere else."""
