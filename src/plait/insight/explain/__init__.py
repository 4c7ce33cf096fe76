"""What an answer rests on, how far to trust it, and what it would be with less to go by."""
