"""What is done with content, wherever it lives: list, inspect, check, delete."""
