from .skipped_images_hook import SkippedImagesHook
from .teacher_hook import TeacherHook

__all__ = ['SkippedImagesHook', 'TeacherHook']
