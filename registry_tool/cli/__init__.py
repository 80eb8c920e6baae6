"""What a person types and reads: the only room that prints, reads ``sys.argv`` and ends the process."""
