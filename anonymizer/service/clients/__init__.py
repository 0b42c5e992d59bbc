"""Clients of the API: their tokens, what they may use, and whose turn it is."""
