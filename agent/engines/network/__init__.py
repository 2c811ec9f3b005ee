"""Moves bytes to and from a measuring server, and says which end was the limit."""
