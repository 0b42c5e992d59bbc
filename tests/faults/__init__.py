"""Faults: what breaks, on running processes, and what must not be lost by it."""
