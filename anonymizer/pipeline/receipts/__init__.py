"""Receipts: what was made of which file, by which models and options, as a signed document without pixels or names."""
