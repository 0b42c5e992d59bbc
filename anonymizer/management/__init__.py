"""What the commands share. Each command is a module in `commands`, and has its short name in `anonymizer/cli.py`."""
