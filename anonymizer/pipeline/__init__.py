"""Finds and redacts objects in images and videos. Pure Python: nothing here imports Django."""
