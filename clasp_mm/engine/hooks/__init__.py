from .accepted_labels_hook import AcceptedLabelsHook
from .exact_resume_hook import ExactResumeHook
from .finite_hook import FiniteHook
from .health_hook import HealthHook
from .probe_hook import ProbeHook
from .run_record_hook import RunRecordHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .skipped_images_hook import SkippedImagesHook
from .teacher_hook import TeacherHook

__all__ = [
    'AcceptedLabelsHook', 'ExactResumeHook', 'FiniteHook', 'HealthHook', 'ProbeHook',
    'RunRecordHook', 'SafeCheckpointHook', 'SkippedImagesHook', 'TeacherHook'
]
