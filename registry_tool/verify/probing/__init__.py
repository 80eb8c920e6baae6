"""Probes of a running container, and where it listens: for a lone one and for those of a stack."""
