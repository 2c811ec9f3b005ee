"""GPUs: what a tenant may have left on them."""
