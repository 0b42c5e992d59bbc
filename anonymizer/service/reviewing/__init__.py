"""Reviews of results: their versions, and the work of rendering them."""
