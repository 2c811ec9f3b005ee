"""Going through the machine's file systems: taking away, counting, noticing."""
