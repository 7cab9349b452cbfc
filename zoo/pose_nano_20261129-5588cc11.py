auto_scale_lr = dict(base_batch_size=256)
backend_args = dict(backend='local')
codec = dict(
    _scope_='mmpose',
    heatmap_size=(
        24,
        32,
    ),
    input_size=(
        48,
        64,
    ),
    sigma=2,
    type='MSRAHeatmap')
custom_hooks = [
    dict(_scope_='mmpose', type='SyncBuffersHook'),
]
custom_imports = dict(imports=[
    'clasp_mm.datasets.coco_keypoints',
    'clasp_mm.datasets.pose_draws',
])
data_mode = 'topdown'
data_root = 'work_dirs/quickstart_downstream/data/pose/'
dataset_type = 'CocoDataset'
default_hooks = dict(
    badcase=dict(
        _scope_='mmpose',
        badcase_thr=5,
        enable=False,
        metric_type='loss',
        out_dir='badcase',
        type='BadCaseAnalysisHook'),
    checkpoint=dict(
        _scope_='mmpose',
        interval=1,
        max_keep_ckpts=2,
        rule='greater',
        save_best='PCK',
        type='clasp_mm.SafeCheckpointHook'),
    logger=dict(_scope_='mmpose', interval=10, type='LoggerHook'),
    param_scheduler=dict(_scope_='mmpose', type='ParamSchedulerHook'),
    sampler_seed=dict(_scope_='mmpose', type='DistSamplerSeedHook'),
    timer=dict(_scope_='mmpose', type='IterTimerHook'),
    visualization=dict(
        _scope_='mmpose', enable=False, type='PoseVisualizationHook'))
default_scope = 'mmpose'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='gloo'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
in_process = dict(num_workers=0, persistent_workers=False)
launcher = 'none'
load_from = None
log_level = 'INFO'
log_processor = dict(
    _scope_='mmpose',
    by_epoch=True,
    num_digits=6,
    type='LogProcessor',
    window_size=50)
max_epochs = 4
model = dict(
    _scope_='mmpose',
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        init_cfg=dict(
            checkpoint='work_dirs/ablation/long/seed0/full/epoch_4.pth',
            type='clasp_mm.Pretrained'),
        moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
        out_indices=(
            1,
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
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='PoseDataPreprocessor'),
    head=dict(
        decoder=dict(
            heatmap_size=(
                24,
                32,
            ),
            input_size=(
                48,
                64,
            ),
            sigma=2,
            type='MSRAHeatmap'),
        deconv_kernel_sizes=(
            4,
            4,
        ),
        deconv_out_channels=(
            64,
            64,
        ),
        in_channels=320,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        out_channels=17,
        type='HeatmapHead'),
    neck=dict(concat=True, type='FeatureMapProcessor'),
    test_cfg=dict(flip_mode='heatmap', flip_test=True, shift_heatmap=True),
    train_cfg=dict(compute_acc=False),
    type='TopdownPoseEstimator')
nano = dict(
    arch='nano',
    drop_path_rate=0.0,
    init_cfg=dict(
        checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'),
    moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
    window_size=4)
norm_cfg = dict(_scope_='mmpose', requires_grad=True, type='SyncBN')
optim_wrapper = dict(
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.001, type='AdamW', weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict({
            'moe.prompts': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0)
        })))
param_scheduler = [
    dict(begin=0, by_epoch=False, end=30, start_factor=0.001, type='LinearLR'),
    dict(
        begin=0,
        by_epoch=True,
        end=4,
        gamma=0.1,
        milestones=[
            3,
        ],
        type='MultiStepLR'),
]
randomness = dict(seed=0)
resume = False
test_cfg = dict()
test_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _scope_='mmpose',
        ann_file='annotations/person_keypoints_val2017.json',
        bbox_file=None,
        data_mode='topdown',
        data_prefix=dict(img='val2017/'),
        data_root='work_dirs/quickstart_downstream/data/pose/',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='GetBBoxCenterScale'),
            dict(input_size=(
                48,
                64,
            ), type='TopdownAffine'),
            dict(type='PackPoseInputs'),
        ],
        test_mode=True,
        type='clasp_mm.CocoKeypoints'),
    drop_last=False,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(
        _scope_='mmpose', round_up=False, shuffle=False,
        type='DefaultSampler'))
test_evaluator = [
    dict(
        ann_file=
        'work_dirs/quickstart_downstream/data/pose/annotations/person_keypoints_val2017.json',
        type='CocoMetric'),
    dict(thr=0.1, type='PCKAccuracy'),
]
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _scope_='mmpose',
        ann_file='annotations/person_keypoints_train2017.json',
        data_mode='topdown',
        data_prefix=dict(img='train2017/'),
        data_root='work_dirs/quickstart_downstream/data/pose/',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='GetBBoxCenterScale'),
            dict(direction='horizontal', type='RandomFlip'),
            dict(
                rotate_factor=30.0,
                scale_factor=(
                    0.8,
                    1.25,
                ),
                type='RandomBBoxTransform'),
            dict(input_size=(
                48,
                64,
            ), type='TopdownAffine'),
            dict(
                encoder=dict(
                    heatmap_size=(
                        24,
                        32,
                    ),
                    input_size=(
                        48,
                        64,
                    ),
                    sigma=2,
                    type='MSRAHeatmap'),
                type='GenerateTarget'),
            dict(type='PackPoseInputs'),
        ],
        type='clasp_mm.CocoKeypoints'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_scope_='mmpose', shuffle=True, type='DefaultSampler'))
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(direction='horizontal', type='RandomFlip'),
    dict(
        rotate_factor=30.0,
        scale_factor=(
            0.8,
            1.25,
        ),
        type='RandomBBoxTransform'),
    dict(input_size=(
        48,
        64,
    ), type='TopdownAffine'),
    dict(
        encoder=dict(
            heatmap_size=(
                24,
                32,
            ),
            input_size=(
                48,
                64,
            ),
            sigma=2,
            type='MSRAHeatmap'),
        type='GenerateTarget'),
    dict(type='PackPoseInputs'),
]
val_cfg = dict()
val_dataloader = dict(
    batch_size=32,
    dataset=dict(
        _scope_='mmpose',
        ann_file='annotations/person_keypoints_val2017.json',
        bbox_file=None,
        data_mode='topdown',
        data_prefix=dict(img='val2017/'),
        data_root='work_dirs/quickstart_downstream/data/pose/',
        pipeline=[
            dict(type='LoadImage'),
            dict(type='GetBBoxCenterScale'),
            dict(input_size=(
                48,
                64,
            ), type='TopdownAffine'),
            dict(type='PackPoseInputs'),
        ],
        test_mode=True,
        type='clasp_mm.CocoKeypoints'),
    drop_last=False,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(
        _scope_='mmpose', round_up=False, shuffle=False,
        type='DefaultSampler'))
val_evaluator = [
    dict(
        ann_file=
        'work_dirs/quickstart_downstream/data/pose/annotations/person_keypoints_val2017.json',
        type='CocoMetric'),
    dict(thr=0.1, type='PCKAccuracy'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(input_size=(
        48,
        64,
    ), type='TopdownAffine'),
    dict(type='PackPoseInputs'),
]
vis_backends = [
    dict(_scope_='mmpose', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmpose',
    name='visualizer',
    type='PoseLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = 'work_dirs/quickstart_downstream/pose-long/seed0/full'
