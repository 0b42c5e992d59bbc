"""The REST API, version 1. Its parameters are the fields of `Options` in `pipeline/options/options.py`."""
