"""
The privileged part: the only package that makes or empties accounts. It never opens a network socket.

What to do comes from a signed order alone; where to do it comes from this machine's own records alone.
"""
