"""Keeps CPUs busy with compiled work and counts only what nobody disturbed."""
