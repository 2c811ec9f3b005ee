"""
Keeps CPUs busy with compiled work and counts only what nobody disturbed.

`kernels` says what is done and `compiled` does it, in the processes of `crew`, whose program is `__main__`; `slices`
decides (pure) which of it counts; `usable` and `extras` look at the machine.
"""
