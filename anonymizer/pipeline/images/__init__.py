"""Still images: one module a format, and `io` that chooses one by the first bytes of a file."""
