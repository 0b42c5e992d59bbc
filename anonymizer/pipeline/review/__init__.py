"""Corrections of a result by a person: what was added, dropped, left visible or changed, and how it is applied."""
