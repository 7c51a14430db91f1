"""``python -m celosia`` is the ``celosia`` command."""

from celosia.cli import main

if __name__ == "__main__":
    main()
