"""Sound bounds of margins and of local Lipschitzness, of networks read as a list of steps."""
