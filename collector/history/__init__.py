"""Health over time: when a report was made, what is missing, and how closed hours are kept. Pure."""
