"""GPUs through NVML, in a process of its own: the library hangs and crashes with the hardware, the agent must not."""
