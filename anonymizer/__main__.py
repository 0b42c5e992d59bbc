"""`python -m anonymizer` is the command `anonymizer`."""

import sys

from anonymizer.cli import main

if __name__ == "__main__":
    sys.exit(main())
