custom_hooks = [
    dict(momentum=0.02, type='mmengine.EMAHook'),
    dict(type='clasp_mm.RunRecordHook'),
]
custom_imports = dict(imports=[
    'clasp_mm.models.detection',
    'clasp_mm.datasets.citypersons',
])
data_root = 'work_dirs/quickstart_downstream/data/detection/'
default_hooks = dict(
    checkpoint=dict(
        _scope_='mmdet',
        interval=1,
        max_keep_ckpts=2,
        rule='less',
        save_best='miss_rate/Reasonable',
        type='clasp_mm.SafeCheckpointHook'),
    logger=dict(_scope_='mmdet', interval=20, type='LoggerHook'),
    param_scheduler=dict(_scope_='mmdet', type='ParamSchedulerHook'),
    sampler_seed=dict(_scope_='mmdet', type='DistSamplerSeedHook'),
    timer=dict(_scope_='mmdet', type='IterTimerHook'),
    visualization=dict(_scope_='mmdet', type='DetVisualizationHook'))
default_scope = 'mmdet'
env_cfg = dict(
    cudnn_benchmark=False,
    dist_cfg=dict(backend='gloo'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
in_process = dict(num_workers=0, persistent_workers=False)
launcher = 'none'
load_from = None
loading = dict(num_workers=4, persistent_workers=True)
log_level = 'INFO'
log_processor = dict(
    _scope_='mmdet', by_epoch=True, type='LogProcessor', window_size=50)
max_epochs = 12
model = dict(
    backbone=dict(
        arch='nano',
        channels_last=True,
        drop_path_rate=0.0,
        init_cfg=dict(
            checkpoint='work_dirs/ablation/long/seed0/full/epoch_4.pth',
            type='clasp_mm.Pretrained'),
        moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
        out_indices=(
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
    bbox_head=dict(
        aspect_ratio=0.36,
        feat_channels=64,
        in_channels=192,
        loss_center=dict(
            alpha=2.0,
            gamma=4.0,
            loss_weight=0.01,
            type='mmdet.GaussianFocalLoss'),
        loss_offset=dict(loss_weight=0.1, type='mmdet.SmoothL1Loss'),
        loss_scale=dict(loss_weight=1.0, type='mmdet.SmoothL1Loss'),
        predict_width=False,
        type='clasp_mm.CSPHead'),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_size_divisor=16,
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='mmdet.DetDataPreprocessor'),
    neck=dict(
        in_channels=(
            64,
            128,
            256,
        ),
        in_strides=(
            8,
            16,
            16,
        ),
        out_channels=64,
        type='clasp_mm.CSPNeck'),
    test_cfg=dict(
        max_per_img=100,
        nms=dict(iou_threshold=0.5, type='nms'),
        nms_pre=1000,
        score_thr=0.01),
    train_cfg=dict(min_width=6, radius=2),
    type='mmdet.SingleStageDetector')
nano = dict(
    arch='nano',
    drop_path_rate=0.0,
    init_cfg=dict(
        checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'),
    moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
    window_size=4)
optim_wrapper = dict(
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.001, type='Adam'),
    type='mmengine.OptimWrapper')
param_scheduler = [
    dict(
        begin=0,
        by_epoch=False,
        end=50,
        start_factor=0.01,
        type='mmengine.LinearLR'),
    dict(
        T_max=12,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
        end=12,
        eta_min=1e-05,
        type='mmengine.CosineAnnealingLR'),
]
randomness = dict(seed=0)
resume = False
size = (
    256,
    128,
)
test_cfg = dict(type='mmengine.TestLoop')
test_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='gtBboxCityPersons/val',
        data_prefix=dict(img='leftImg8bit/val'),
        data_root='work_dirs/quickstart_downstream/data/detection/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                256,
                128,
            ), type='Resize'),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'instances',
                ),
                type='PackDetInputs'),
        ],
        test_mode=True,
        type='clasp_mm.CityPersons'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='mmengine.DefaultSampler'))
test_evaluator = dict(type='clasp_mm.MissRateMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(
        256,
        128,
    ), type='Resize'),
    dict(
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'instances',
        ),
        type='PackDetInputs'),
]
train_cfg = dict(
    max_epochs=12, type='mmengine.EpochBasedTrainLoop', val_interval=3)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='gtBboxCityPersons/train',
        data_prefix=dict(img='leftImg8bit/train'),
        data_root='work_dirs/quickstart_downstream/data/detection/',
        min_height=50,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(max_mag=2.0, min_mag=0.5, prob=0.5, type='Brightness'),
            dict(prob=0.5, type='RandomFlip'),
            dict(
                clip_object_border=False,
                keep_ratio=True,
                ratio_range=(
                    0.7,
                    1.5,
                ),
                resize_type='mmdet.Resize',
                scale=(
                    256,
                    128,
                ),
                type='RandomResize'),
            dict(
                allow_negative_crop=True,
                bbox_clip_border=False,
                crop_size=(
                    256,
                    128,
                ),
                type='RandomCrop'),
            dict(
                pad_val=dict(img=(
                    104,
                    116,
                    124,
                )),
                size=(
                    256,
                    128,
                ),
                type='Pad'),
            dict(type='PackDetInputs'),
        ],
        type='clasp_mm.CityPersons'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='mmengine.DefaultSampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(max_mag=2.0, min_mag=0.5, prob=0.5, type='Brightness'),
    dict(prob=0.5, type='RandomFlip'),
    dict(
        clip_object_border=False,
        keep_ratio=True,
        ratio_range=(
            0.7,
            1.5,
        ),
        resize_type='mmdet.Resize',
        scale=(
            256,
            128,
        ),
        type='RandomResize'),
    dict(
        allow_negative_crop=True,
        bbox_clip_border=False,
        crop_size=(
            256,
            128,
        ),
        type='RandomCrop'),
    dict(pad_val=dict(img=(
        104,
        116,
        124,
    )), size=(
        256,
        128,
    ), type='Pad'),
    dict(type='PackDetInputs'),
]
val_cfg = dict(type='mmengine.ValLoop')
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='gtBboxCityPersons/val',
        data_prefix=dict(img='leftImg8bit/val'),
        data_root='work_dirs/quickstart_downstream/data/detection/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                256,
                128,
            ), type='Resize'),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'instances',
                ),
                type='PackDetInputs'),
        ],
        test_mode=True,
        type='clasp_mm.CityPersons'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='mmengine.DefaultSampler'))
val_evaluator = dict(type='clasp_mm.MissRateMetric')
vis_backends = [
    dict(_scope_='mmdet', type='LocalVisBackend'),
]
visualizer = dict(
    _scope_='mmdet',
    name='visualizer',
    type='DetLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
work_dir = 'work_dirs/quickstart_downstream/detection-long/seed0/full'
