"""What runs and lies on this machine: the local registry, base images, images by name."""
