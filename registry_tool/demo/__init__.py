"""The demo: the whole life cycle of an image, each step verified."""
