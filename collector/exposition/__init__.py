"""Machines' figures as Prometheus reads them: a table of what is shown, and pure functions that make text of it."""
