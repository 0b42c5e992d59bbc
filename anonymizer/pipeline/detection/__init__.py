"""Detectors: their protocol, the views of an image that they analyse, and the merging of what they find."""
