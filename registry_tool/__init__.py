"""A local registry and image lifecycle manager."""

__version__ = "0.1.0"
