"""What the cells of a plan will cost: time, memory, storage."""
