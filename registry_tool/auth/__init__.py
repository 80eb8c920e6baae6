"""Who the user is to a registry: docker's and podman's configuration, read and written."""
