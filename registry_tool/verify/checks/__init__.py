"""The checks of one environment, in their order: from the name to the end of a container."""
