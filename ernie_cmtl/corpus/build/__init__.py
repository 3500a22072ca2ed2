"""Documents -> a corpus on disk: the pipeline, its executor and its steps."""
