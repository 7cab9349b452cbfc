from .hooks import (
    AcceptedLabelsHook,
    AttributeHook,
    CompileHook,
    ExactResumeHook,
    FiniteHook,
    HealthHook,
    LoadBalanceHook,
    ProbeHook,
    RunRecordHook,
    SafeCheckpointHook,
    SelfCorrectionHook,
    SkippedImagesHook,
    StepValuesHook,
    TaskConflictHook,
    TeacherHook,
)
from .optim import (
    DINOAmpOptimWrapper,
    DINOOptimWrapper,
    LayerDecayOptimWrapperConstructor,
    TrainableOptimWrapperConstructor,
    WarmupCosineLR,
)

__all__ = [
    'AcceptedLabelsHook', 'AttributeHook', 'CompileHook', 'DINOAmpOptimWrapper',
    'DINOOptimWrapper', 'ExactResumeHook',
    'FiniteHook', 'HealthHook', 'LayerDecayOptimWrapperConstructor', 'LoadBalanceHook',
    'ProbeHook', 'RunRecordHook', 'SafeCheckpointHook', 'SelfCorrectionHook', 'SkippedImagesHook',
    'StepValuesHook', 'TaskConflictHook', 'TeacherHook', 'TrainableOptimWrapperConstructor',
    'WarmupCosineLR'
]
