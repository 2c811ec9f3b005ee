"""Moves blocks to and from a disk, by direct I/O, and proves that the disk moved them."""
