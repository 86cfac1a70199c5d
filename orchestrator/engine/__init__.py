"""The shell around the core: effects, threads and descriptors."""
