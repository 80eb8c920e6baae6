"""Presentation: tables, trees, progress, Markdown and JUnit."""
