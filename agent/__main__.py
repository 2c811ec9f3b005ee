"""`rackproof-agent`: the command line of a machine."""

from agent.cli import commands


def main() -> None:
    """Run the command line."""
    commands()


if __name__ == "__main__":
    main()
