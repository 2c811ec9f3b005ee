"""The platform's measuring server: a program of its own that knows tickets and bytes, and nothing of the collector."""
