"""``python tests/fuzz/run.py --seconds 60``: fuzz `portico.wire` and `portico.session`.

Rule of this file: it finds the package beside it and hands over.
"""

from portico_fuzz.main import main

if __name__ == "__main__":
    raise SystemExit(main())
