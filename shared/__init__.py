"""What crosses the wire: pure types and decisions; imports nothing of ours and does no I/O."""
