"""The engines that an image is verified on: clean ones, the current one, or a docker context's."""
