"""`python -m sparkray.sweep`."""

import sys

from sparkray.sweep import main

if __name__ == "__main__":
    sys.exit(main())
