"""The training room: recipes, the loop, checkpoints, augmentation on the device."""
