"""Raw text -> Document: files and datasets in every format."""
