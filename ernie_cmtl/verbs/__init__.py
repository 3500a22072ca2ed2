"""One verb a file: arguments -> the result that `--json` prints."""
