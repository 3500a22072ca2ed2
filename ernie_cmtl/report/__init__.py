"""One page of a run: what its folder says, as charts and tables in a single HTML file."""
