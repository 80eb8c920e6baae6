"""The OCI specifications' data types: pure and frozen, on the standard library alone."""
