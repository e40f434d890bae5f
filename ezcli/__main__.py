"""`python -m ezcli` is the command `ez`."""

from ezcli.cli import main

if __name__ == "__main__":
    main()
