"""Benchmarks as the collector has them: ordered, judged as they come in, compared, approved or rejected."""
