from .accepted_labels_hook import AcceptedLabelsHook
from .attribute_hook import AttributeHook
from .compile_hook import CompileHook
from .exact_resume_hook import ExactResumeHook
from .finite_hook import FiniteHook
from .health_hook import HealthHook
from .identity_count_hook import IdentityCountHook
from .load_balance_hook import LoadBalanceHook
from .probe_hook import ProbeHook
from .run_record_hook import RunRecordHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .self_correction_hook import SelfCorrectionHook
from .skipped_images_hook import SkippedImagesHook
from .step_values_hook import StepValuesHook
from .task_conflict_hook import TaskConflictHook
from .teacher_hook import TeacherHook

__all__ = [
    'AcceptedLabelsHook', 'AttributeHook', 'CompileHook', 'ExactResumeHook', 'FiniteHook',
    'HealthHook', 'IdentityCountHook', 'LoadBalanceHook', 'ProbeHook', 'RunRecordHook',
    'SafeCheckpointHook', 'SelfCorrectionHook', 'SkippedImagesHook', 'StepValuesHook',
    'TaskConflictHook', 'TeacherHook'
]
