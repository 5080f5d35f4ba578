"""Tile sets and features in, metric rows out; none knows which generator made what it scores."""
