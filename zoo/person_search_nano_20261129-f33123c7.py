box_coder = dict(
    target_stds=[
        0.1,
        0.1,
        0.2,
        0.2,
    ], type='mmdet.DeltaXYWHBBoxCoder')
custom_hooks = [
    dict(type='clasp_mm.IdentityCountHook'),
    dict(type='clasp_mm.RunRecordHook'),
]
custom_imports = dict(imports=[
    'clasp_mm.models.person_search',
    'clasp_mm.datasets.person_search',
])
data_root = 'work_dirs/quickstart_downstream/data/person_search/'
default_hooks = dict(
    checkpoint=dict(
        _scope_='mmdet',
        interval=1,
        max_keep_ckpts=2,
        rule='greater',
        save_best='search/mAP',
        type='clasp_mm.SafeCheckpointHook'),
    logger=dict(_scope_='mmdet', interval=10, type='LoggerHook'),
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
max_epochs = 16
model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        init_cfg=dict(
            checkpoint=
            'work_dirs/ablation/long/seed0/full/epoch_4.pth',
            type='clasp_mm.Pretrained'),
        moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
        task=(
            'appearance',
            'part',
        ),
        type='clasp_mm.PCMoESwin',
        window_size=4),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_size_divisor=32,
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='mmdet.DetDataPreprocessor'),
    roi_head=dict(
        bbox_head=[
            dict(
                bbox_coder=dict(
                    target_stds=[
                        0.1,
                        0.1,
                        0.2,
                        0.2,
                    ],
                    type='mmdet.DeltaXYWHBBoxCoder'),
                in_channels=256,
                loss_bbox=dict(type='mmdet.SmoothL1Loss'),
                loss_cls=dict(type='mmdet.CrossEntropyLoss'),
                num_classes=1,
                roi_feat_size=(
                    4,
                    2,
                ),
                type='mmdet.BBoxHead',
                with_avg_pool=True),
            dict(
                bbox_coder=dict(
                    target_stds=[
                        0.1,
                        0.1,
                        0.2,
                        0.2,
                    ],
                    type='mmdet.DeltaXYWHBBoxCoder'),
                channels=128,
                in_channels=(
                    128,
                    256,
                ),
                loss_bbox=dict(type='mmdet.SmoothL1Loss'),
                loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
                roi_feat_size=(
                    4,
                    2,
                ),
                type='clasp_mm.NAEHead'),
        ],
        bbox_roi_extractor=dict(
            featmap_strides=[
                16,
            ],
            out_channels=128,
            roi_layer=dict(
                aligned=False,
                output_size=(
                    8,
                    4,
                ),
                sampling_ratio=2,
                type='RoIAlign',
                use_torchvision=True),
            type='mmdet.SingleRoIExtractor'),
        cws=True,
        loss_oim=dict(
            channels=128,
            momentum=0.5,
            num_identities=200,
            queue_size=64,
            scalar=15.0,
            type='clasp_mm.OIMLoss'),
        share_stage=True,
        tasks=(
            'part',
            'appearance',
        ),
        type='clasp_mm.SeqRoIHead'),
    rpn_head=dict(
        anchor_generator=dict(
            ratios=[
                3.0,
            ],
            scales=[
                1.5,
                2.5,
                4.0,
                6.0,
            ],
            strides=[
                16,
            ],
            type='mmdet.AnchorGenerator'),
        bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
        feat_channels=64,
        in_channels=128,
        loss_bbox=dict(beta=0.1111111111111111, type='mmdet.SmoothL1Loss'),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
        type='clasp_mm.UpcastRPNHead'),
    test_cfg=dict(
        rcnn=dict(
            first=dict(
                max_per_img=300,
                nms=dict(iou_threshold=0.4, type='nms'),
                score_thr=0.5),
            max_per_img=300,
            nms_iou=0.5,
            score_thr=0.5),
        rpn=dict(
            max_per_img=50,
            min_bbox_size=0,
            nms=dict(iou_threshold=0.7, type='nms'),
            nms_pre=1000)),
    train_cfg=dict(
        rcnn=[
            dict(
                assigner=dict(
                    match_low_quality=False,
                    min_pos_iou=0.5,
                    neg_iou_thr=0.5,
                    pos_iou_thr=0.5,
                    type='mmdet.MaxIoUAssigner'),
                pos_weight=-1,
                sampler=dict(
                    add_gt_as_proposals=True,
                    num=32,
                    pos_fraction=0.5,
                    type='mmdet.RandomSampler')),
            dict(
                assigner=dict(
                    match_low_quality=False,
                    min_pos_iou=0.5,
                    neg_iou_thr=0.5,
                    pos_iou_thr=0.5,
                    type='mmdet.MaxIoUAssigner'),
                pos_weight=-1,
                sampler=dict(
                    add_gt_as_proposals=True,
                    num=32,
                    pos_fraction=0.5,
                    type='mmdet.RandomSampler')),
        ],
        rpn=dict(
            allowed_border=-1,
            assigner=dict(
                min_pos_iou=0.001,
                neg_iou_thr=0.3,
                pos_iou_thr=0.7,
                type='mmdet.MaxIoUAssigner'),
            pos_weight=-1,
            sampler=dict(
                add_gt_as_proposals=False,
                num=256,
                pos_fraction=0.5,
                type='mmdet.RandomSampler')),
        rpn_proposal=dict(
            max_per_img=100,
            min_bbox_size=0,
            nms=dict(iou_threshold=0.7, type='nms'),
            nms_pre=400)),
    type='clasp_mm.SeqNet')
nano = dict(
    arch='nano',
    drop_path_rate=0.0,
    init_cfg=dict(
        checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'),
    moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
    window_size=4)
optim_wrapper = dict(
    clip_grad=dict(max_norm=10.0),
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.0005, type='AdamW', weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict({'moe.prompts': dict(decay_mult=0.0)})),
    type='mmengine.OptimWrapper')
param_scheduler = [
    dict(
        begin=0,
        by_epoch=False,
        end=20,
        start_factor=0.01,
        type='mmengine.LinearLR'),
    dict(
        T_max=16,
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
        end=16,
        eta_min=1e-05,
        type='mmengine.CosineAnnealingLR'),
]
randomness = dict(seed=0)
rcnn = dict(
    assigner=dict(
        match_low_quality=False,
        min_pos_iou=0.5,
        neg_iou_thr=0.5,
        pos_iou_thr=0.5,
        type='mmdet.MaxIoUAssigner'),
    pos_weight=-1,
    sampler=dict(
        add_gt_as_proposals=True,
        num=32,
        pos_fraction=0.5,
        type='mmdet.RandomSampler'))
resume = False
size = (
    400,
    240,
)
test_cfg = dict(type='mmengine.TestLoop')
test_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root='work_dirs/quickstart_downstream/data/person_search/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                400,
                240,
            ), type='Resize'),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'instances',
                    'queries',
                ),
                type='PackDetInputs'),
        ],
        split='test',
        type='clasp_mm.CUHKSYSU'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='mmengine.DefaultSampler'))
test_evaluator = dict(cbgm=None, type='clasp_mm.PersonSearchMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(
        400,
        240,
    ), type='Resize'),
    dict(
        meta_keys=(
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'instances',
            'queries',
        ),
        type='PackDetInputs'),
]
train_cfg = dict(
    max_epochs=16, type='mmengine.EpochBasedTrainLoop', val_interval=8)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root='work_dirs/quickstart_downstream/data/person_search/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                clip_object_border=False,
                keep_ratio=True,
                scale=(
                    400,
                    240,
                ),
                type='Resize'),
            dict(min_gt_bbox_wh=(
                1,
                1,
            ), type='FilterAnnotations'),
            dict(prob=0.5, type='RandomFlip'),
            dict(type='PackDetInputs'),
        ],
        split='train',
        type='clasp_mm.CUHKSYSU'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='mmengine.DefaultSampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        clip_object_border=False,
        keep_ratio=True,
        scale=(
            400,
            240,
        ),
        type='Resize'),
    dict(min_gt_bbox_wh=(
        1,
        1,
    ), type='FilterAnnotations'),
    dict(prob=0.5, type='RandomFlip'),
    dict(type='PackDetInputs'),
]
val_cfg = dict(type='mmengine.ValLoop')
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root='work_dirs/quickstart_downstream/data/person_search/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                400,
                240,
            ), type='Resize'),
            dict(
                meta_keys=(
                    'img_id',
                    'img_path',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                    'instances',
                    'queries',
                ),
                type='PackDetInputs'),
        ],
        split='test',
        type='clasp_mm.CUHKSYSU'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='mmengine.DefaultSampler'))
val_evaluator = dict(cbgm=None, type='clasp_mm.PersonSearchMetric')
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
work_dir = 'work_dirs/quickstart_downstream/person_search-long/seed0/full'
