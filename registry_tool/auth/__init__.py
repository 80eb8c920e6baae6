"""Credentials for registries, in docker's and podman's configuration and in credential helpers."""
