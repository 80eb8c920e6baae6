"""Image builds: the context as a tar stream, by the classic builder or by BuildKit."""
