"""Raw text -> annotated corpus on disk. Runs offline and without torch."""
