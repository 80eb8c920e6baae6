"""What people read: tables, trees, progress, Markdown and JUnit."""
