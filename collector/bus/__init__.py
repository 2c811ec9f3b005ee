"""Doorbells between the processes of a collector: they only ring; the truth is in the database."""
