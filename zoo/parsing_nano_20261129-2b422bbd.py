auto_scale_lr = dict(base_batch_size=64, enable=False)
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(interval=2, start=8, type='clasp_mm.SelfCorrectionHook'),
]
custom_imports = dict(imports=[
    'clasp_mm.datasets.lip',
    'clasp_mm.models.parsing',
])
data_root = 'work_dirs/quickstart_downstream/data/parsing/'
dataset_type = 'clasp_mm.LIP'
default_hooks = dict(
    checkpoint=dict(
        interval=1,
        max_keep_ckpts=2,
        save_best='mIoU',
        type='clasp_mm.SafeCheckpointHook'),
    logger=dict(interval=10, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'))
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='gloo'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
in_process = dict(num_workers=0, persistent_workers=False)
launcher = 'none'
load_from = None
loading = dict(num_workers=4, persistent_workers=True)
log_level = 'INFO'
max_epochs = 12
meta_keys = (
    'img_path',
    'seg_map_path',
    'ori_shape',
    'img_shape',
    'pad_shape',
    'affine',
    'padding_size',
    'scale_factor',
    'flip',
    'flip_direction',
    'reduce_zero_label',
)
model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        init_cfg=dict(
            checkpoint='work_dirs/ablation/long/seed0/full/epoch_4.pth',
            type='clasp_mm.Pretrained'),
        moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
        out_indices=(
            0,
            1,
            2,
            3,
        ),
        strides=(
            4,
            2,
            2,
            1,
        ),
        task='part',
        type='clasp_mm.PCMoESwin',
        window_size=4),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            64,
            32,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor'),
    decode_head=dict(
        align_corners=True,
        channels=64,
        context_channels=64,
        detail_channels=16,
        edge_channels=32,
        in_channels=[
            32,
            64,
            128,
            256,
        ],
        norm_cfg=dict(requires_grad=True, type='BN'),
        num_classes=20,
        type='clasp_mm.CE2PHead'),
    test_cfg=dict(mode='whole'),
    train_cfg=dict(),
    type='clasp_mm.SelfCorrectingParser')
nano = dict(
    arch='nano',
    drop_path_rate=0.0,
    init_cfg=dict(
        checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'),
    moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
    window_size=4)
norm_cfg = dict(requires_grad=True, type='SyncBN')
optim_wrapper = dict(
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.004, type='AdamW', weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict({'moe.prompts': dict(decay_mult=0.0)})),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=50, start_factor=0.01, type='LinearLR'),
    dict(
        T_max=7,
        begin=1,
        by_epoch=True,
        end=8,
        eta_min_ratio=0.01,
        type='CosineAnnealingLR'),
    dict(
        begin=8,
        by_epoch=True,
        end=12,
        eta_min_ratio=0.01,
        periods=[
            2,
            2,
        ],
        restart_weights=[
            0.5,
            0.5,
        ],
        type='CosineRestartLR'),
]
randomness = dict(seed=0)
resume = False
size = (
    64,
    32,
)
step = dict(
    size=[
        96,
        48,
    ], type='clasp_mm.PersonAffine')
swap_seg_labels = [
    (
        14,
        15,
    ),
    (
        16,
        17,
    ),
    (
        18,
        19,
    ),
]
test_cfg = dict()
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file='val_id.txt',
        data_prefix=dict(
            img_path='val_images',
            seg_map_path='TrainVal_parsing_annotations/val_segmentations'),
        data_root='work_dirs/quickstart_downstream/data/parsing/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(size=(
                64,
                32,
            ), type='clasp_mm.PersonAffine'),
            dict(type='LoadAnnotations'),
            dict(num_classes=20, type='clasp_mm.CheckLabelMap'),
            dict(
                meta_keys=(
                    'img_path',
                    'seg_map_path',
                    'ori_shape',
                    'img_shape',
                    'pad_shape',
                    'affine',
                    'padding_size',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                    'reduce_zero_label',
                ),
                type='PackSegInputs'),
        ],
        test_mode=True,
        type='clasp_mm.LIP'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(size=(
        64,
        32,
    ), type='clasp_mm.PersonAffine'),
    dict(type='LoadAnnotations'),
    dict(num_classes=20, type='clasp_mm.CheckLabelMap'),
    dict(
        meta_keys=(
            'img_path',
            'seg_map_path',
            'ori_shape',
            'img_shape',
            'pad_shape',
            'affine',
            'padding_size',
            'scale_factor',
            'flip',
            'flip_direction',
            'reduce_zero_label',
        ),
        type='PackSegInputs'),
]
train_cfg = dict(by_epoch=True, max_epochs=12, val_interval=4)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        ann_file='train_id.txt',
        data_prefix=dict(
            img_path='train_images',
            seg_map_path='TrainVal_parsing_annotations/train_segmentations'),
        data_root='work_dirs/quickstart_downstream/data/parsing/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(num_classes=20, type='clasp_mm.CheckLabelMap'),
            dict(
                rotation_std=0.0,
                scale_std=0.25,
                size=(
                    64,
                    32,
                ),
                type='clasp_mm.PersonAffine'),
            dict(
                prob=0.5,
                swap_seg_labels=[
                    (
                        14,
                        15,
                    ),
                    (
                        16,
                        17,
                    ),
                    (
                        18,
                        19,
                    ),
                ],
                type='RandomFlip'),
            dict(
                meta_keys=(
                    'img_path',
                    'seg_map_path',
                    'ori_shape',
                    'img_shape',
                    'pad_shape',
                    'affine',
                    'padding_size',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                    'reduce_zero_label',
                ),
                type='PackSegInputs'),
        ],
        type='clasp_mm.LIP'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(num_classes=20, type='clasp_mm.CheckLabelMap'),
    dict(
        rotation_std=0.0,
        scale_std=0.25,
        size=(
            64,
            32,
        ),
        type='clasp_mm.PersonAffine'),
    dict(
        prob=0.5,
        swap_seg_labels=[
            (
                14,
                15,
            ),
            (
                16,
                17,
            ),
            (
                18,
                19,
            ),
        ],
        type='RandomFlip'),
    dict(
        meta_keys=(
            'img_path',
            'seg_map_path',
            'ori_shape',
            'img_shape',
            'pad_shape',
            'affine',
            'padding_size',
            'scale_factor',
            'flip',
            'flip_direction',
            'reduce_zero_label',
        ),
        type='PackSegInputs'),
]
tta_model = dict(
    swap_seg_labels=[
        (
            14,
            15,
        ),
        (
            16,
            17,
        ),
        (
            18,
            19,
        ),
    ],
    type='clasp_mm.ParsingTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        transforms=[
            [
                dict(prob=0.0, type='RandomFlip'),
                dict(prob=1.0, type='RandomFlip'),
            ],
            [
                dict(size=[
                    64,
                    32,
                ], type='clasp_mm.PersonAffine'),
                dict(size=[
                    32,
                    16,
                ], type='clasp_mm.PersonAffine'),
                dict(size=[
                    48,
                    24,
                ], type='clasp_mm.PersonAffine'),
                dict(size=[
                    80,
                    40,
                ], type='clasp_mm.PersonAffine'),
                dict(size=[
                    96,
                    48,
                ], type='clasp_mm.PersonAffine'),
            ],
            [
                dict(type='LoadAnnotations'),
            ],
            [
                dict(num_classes=20, type='clasp_mm.CheckLabelMap'),
            ],
            [
                dict(
                    meta_keys=(
                        'img_path',
                        'seg_map_path',
                        'ori_shape',
                        'img_shape',
                        'pad_shape',
                        'affine',
                        'padding_size',
                        'scale_factor',
                        'flip',
                        'flip_direction',
                        'reduce_zero_label',
                    ),
                    type='PackSegInputs'),
            ],
        ],
        type='TestTimeAug'),
]
val_cfg = dict()
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        ann_file='val_id.txt',
        data_prefix=dict(
            img_path='val_images',
            seg_map_path='TrainVal_parsing_annotations/val_segmentations'),
        data_root='work_dirs/quickstart_downstream/data/parsing/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(size=(
                64,
                32,
            ), type='clasp_mm.PersonAffine'),
            dict(type='LoadAnnotations'),
            dict(num_classes=20, type='clasp_mm.CheckLabelMap'),
            dict(
                meta_keys=(
                    'img_path',
                    'seg_map_path',
                    'ori_shape',
                    'img_shape',
                    'pad_shape',
                    'affine',
                    'padding_size',
                    'scale_factor',
                    'flip',
                    'flip_direction',
                    'reduce_zero_label',
                ),
                type='PackSegInputs'),
        ],
        test_mode=True,
        type='clasp_mm.LIP'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = 'work_dirs/quickstart_downstream/parsing-long/seed0/full'
