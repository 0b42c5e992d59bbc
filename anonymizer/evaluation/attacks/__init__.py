"""Attacks on redacted objects: what can be read from one picture, and from many."""
