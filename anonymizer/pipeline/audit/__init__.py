"""Look again at finished files: at a result before it is handed over, and at any folder."""
