from .hooks import (
    AcceptedLabelsHook,
    ExactResumeHook,
    FiniteHook,
    HealthHook,
    ProbeHook,
    RunRecordHook,
    SafeCheckpointHook,
    SkippedImagesHook,
    TeacherHook,
)
from .optim import DINOAmpOptimWrapper, DINOOptimWrapper, TrainableOptimWrapperConstructor

__all__ = [
    'AcceptedLabelsHook', 'DINOAmpOptimWrapper', 'DINOOptimWrapper', 'ExactResumeHook',
    'FiniteHook', 'HealthHook', 'ProbeHook', 'RunRecordHook', 'SafeCheckpointHook',
    'SkippedImagesHook', 'TeacherHook', 'TrainableOptimWrapperConstructor'
]
