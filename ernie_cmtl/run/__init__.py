"""A configuration becomes a run: put together, trained, timed, opened again."""
