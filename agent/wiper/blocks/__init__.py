"""Below the files: media, copies of whole file systems, and what was done to freed blocks."""
