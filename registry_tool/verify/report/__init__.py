"""The report of a verification: a document that anyone can read and compare."""
