"""Training, evaluating and recording cells: the middle of the flow from suite to leaderboard."""
