"""`python -m ernie_cmtl` is the command `ernie-cmtl`."""

from ernie_cmtl.cli.app import main

if __name__ == "__main__":
    main()
