"""A labelled set: the recipe that names it, its rows, and the scores of answers to them."""
