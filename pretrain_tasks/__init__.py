"""The pretraining tasks, one file each: what a task is called is the name of its file."""
