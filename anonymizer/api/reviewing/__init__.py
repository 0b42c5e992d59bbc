"""Reviews of results: the endpoints, their parameters and their description."""
