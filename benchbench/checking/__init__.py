"""Checking what a leaderboard says: witnesses replayed, rows computed again."""
