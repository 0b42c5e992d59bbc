"""Models: the registry of all models, their loaders, the store that serves them, and their download."""
