"""Multiplies matrices on GPUs through the driver and cuBLAS, nothing between."""
