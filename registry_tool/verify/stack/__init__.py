"""The point "stack": an image's services together, and what they bear."""
