"""What a provider sends when something is wrong: a recording of his machine, without what names it or anybody on it."""
