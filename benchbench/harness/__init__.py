"""Trains, evaluates and records cells: the middle of the flow from suite to leaderboard."""
