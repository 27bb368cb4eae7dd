"""Running a whole suite, and telling how far it is."""
