"""``python tests/bench/run.py [--quick]``: Portico beside nginx, HAProxy and Dovecot. See README.md here.

Rule of this file: it finds the package beside it and hands over.
"""

from mailbench.main import main

if __name__ == "__main__":
    raise SystemExit(main())
