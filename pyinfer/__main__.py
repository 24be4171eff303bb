"""`python -m pyinfer` is the same as the command `pyinfer`."""

import sys

from pyinfer.cli import main

if __name__ == "__main__":
    sys.exit(main())
