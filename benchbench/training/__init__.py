"""Training of models: the loop, checkpoints, augmentation, ranks that train together."""

from benchbench.training.checkpoint import Checkpoint
from benchbench.training.job import TrainingJob
from benchbench.training.loop import TrainedModel, train

__all__ = ["Checkpoint", "TrainedModel", "TrainingJob", "train"]
