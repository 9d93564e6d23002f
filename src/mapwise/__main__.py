"""python -m mapwise: the same as the command mapwise."""

from mapwise.interfaces.cli import main

if __name__ == "__main__":
    main()
