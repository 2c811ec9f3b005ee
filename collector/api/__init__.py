"""REST: one file a subject; handlers translate between HTTP and the parts below, and decide nothing."""
