"""`rackproof`: the collector and its client commands."""

from collector.cli import commands


def main() -> None:
    """Run the command line."""
    commands()


if __name__ == "__main__":
    main()
