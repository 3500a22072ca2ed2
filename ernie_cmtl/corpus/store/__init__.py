"""The corpus on disk: manifest, arrays, splits, labelled rows."""
