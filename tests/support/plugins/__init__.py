"""One plug-in of each kind, as users write them: a module with one class."""
