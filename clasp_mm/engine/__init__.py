"""A run: its hooks, optimizers and schedules, its config checked, estimated, launched."""

from .hooks import *  # noqa: F403
from .optim import *  # noqa: F403
