"""What makes root, and what only root writes, as it was when the tenant came."""
