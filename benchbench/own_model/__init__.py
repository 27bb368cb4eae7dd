"""A model of one's own, or a stranger's: read safely, attacked, reported."""
