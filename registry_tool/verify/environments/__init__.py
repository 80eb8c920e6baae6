"""Where an image is proven: clean engines of our own, the present one, or one that a docker context names."""
