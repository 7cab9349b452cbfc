from .health_hook import HealthHook
from .skipped_images_hook import SkippedImagesHook
from .teacher_hook import TeacherHook

__all__ = ['HealthHook', 'SkippedImagesHook', 'TeacherHook']
