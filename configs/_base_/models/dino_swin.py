# DINO on a plain Swin: stage 1 of CLASP.
model = dict(
    type='clasp_mm.DINO',
    backbone=dict(type='clasp_mm.PCMoESwin', arch='tiny', moe=None, drop_path_rate=0.1),
    head=dict(type='clasp_mm.DINOHead', in_channels=768, out_dim=65536),
    num_global=2,
    momentum=0.996,
    teacher_temp=0.04,
    student_temp=0.1,
    center_momentum=0.9,
    freeze_last_layer_epochs=1,
    data_preprocessor=dict(
        type='clasp_mm.ViewPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True))
