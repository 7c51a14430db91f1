"""The ``celosia`` command line."""


def main():
    raise SystemExit("not yet")
