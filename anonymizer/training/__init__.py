"""The recipe of the project's own detector and mask head: `python -m anonymizer.training`."""
