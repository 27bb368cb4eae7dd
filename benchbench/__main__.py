"""``python -m benchbench``."""

from benchbench.cli import main

if __name__ == "__main__":  # processes of `verify` import it again
    main()
