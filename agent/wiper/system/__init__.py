"""The machine as the wiper reaches it: system calls, tools, processes apart, files by descriptor and line by line."""
