"""`python -m fourseven`: the same program as `fourseven`."""

from fourseven.cli.main import main

if __name__ == "__main__":
    main()
