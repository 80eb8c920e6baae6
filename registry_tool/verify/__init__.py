"""The story again on an engine that has never seen the image, as evidence: places, points, and the certificate."""
