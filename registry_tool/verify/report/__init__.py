"""What a proof leaves: a document that anyone can read and compare."""
