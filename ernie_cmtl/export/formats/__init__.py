"""Formats of an export: one file each; its name is what `export --format` takes."""
