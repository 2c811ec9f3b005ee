"""The agents' links: who may join, who is heard, what is sent; decisions in pure files, sockets in `gateway` only."""
