"""The words of the OCI specifications: pure, frozen, the standard library alone."""
