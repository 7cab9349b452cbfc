_base_ = './task_runtime.py'

default_hooks = dict(runtime_info=dict(type='clasp_mm.StepValuesHook'))
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.FiniteHook'),
    dict(type='clasp_mm.AcceptedLabelsHook'),
    dict(type='clasp_mm.TeacherHook'),
    dict(type='clasp_mm.SkippedImagesHook'),
    dict(type='clasp_mm.HealthHook', interval=50),
    dict(type='clasp_mm.RunRecordHook'),
]
