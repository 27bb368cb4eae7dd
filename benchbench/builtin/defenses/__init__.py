"""Built-in defenses: the training methods of the closer-look protocol."""
