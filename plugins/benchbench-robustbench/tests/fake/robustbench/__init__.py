"""A made-up package with the layout of RobustBench's: no code or number is from there."""
