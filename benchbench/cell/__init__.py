"""A cell: one trained model under one protocol, its recipe, and its reading from a record."""
