"""``python -m portico``.

Rule of this file: the same as the command `portico`.
"""

from portico.cli.main import main

if __name__ == "__main__":
    main()
