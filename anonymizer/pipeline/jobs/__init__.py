"""The jobs of a folder: which files are to be done, the work on one, and the processes that do it."""
