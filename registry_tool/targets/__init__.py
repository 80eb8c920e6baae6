"""Where content lives: the port, a registry behind it, and a cache."""
