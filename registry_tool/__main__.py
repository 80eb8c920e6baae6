"""``python -m registry_tool`` is the same program as ``regctl``."""

import sys

from registry_tool.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
