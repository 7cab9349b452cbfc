# Augmented CE2P (SCHP): stage 4 stays at stride 16.
custom_imports = dict(imports=['clasp_mm.datasets.lip', 'clasp_mm.models.parsing'])
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='clasp_mm.SelfCorrectingParser',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(572, 384)),
    backbone=dict(
        type='clasp_mm.PCMoESwin',
        arch='tiny',
        task='part',
        strides=(4, 2, 2, 1),
        drop_path_rate=0.,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(
            type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    decode_head=dict(
        type='clasp_mm.CE2PHead',
        in_channels=[96, 192, 384, 768],
        num_classes=20,
        align_corners=True,
        norm_cfg=norm_cfg),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
