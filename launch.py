"""The verbs of ernie_cmtl without installing it: `python launch.py VERB`; torchrun and accelerate
launch this file too.
"""

from ernie_cmtl.cli.app import main

if __name__ == "__main__":
    main()
