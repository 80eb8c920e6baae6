"""Air-gap kits: images, the registry's own image and this tool in one folder or file, for machines without a network."""
