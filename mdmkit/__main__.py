"""`python -m mdmkit`."""

from mdmkit.cli import main

if __name__ == "__main__":
    main()
