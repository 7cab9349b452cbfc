auto_scale_lr = dict(base_batch_size=64)
custom_hooks = [
    dict(type='clasp_mm.IdentityCountHook'),
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.FiniteHook'),
    dict(type='clasp_mm.RunRecordHook'),
]
custom_imports = dict(imports=[
    'clasp_mm',
])
data_root = 'work_dirs/quickstart_downstream/data/reid/'
dataset_type = 'clasp_mm.Market1501'
default_hooks = dict(
    checkpoint=dict(
        interval=5,
        max_keep_ckpts=2,
        rule='greater',
        save_best='reid/mAP',
        type='clasp_mm.SafeCheckpointHook'),
    logger=dict(interval=10, type='mmengine.LoggerHook'),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
    timer=dict(type='mmengine.IterTimerHook'))
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='gloo'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
in_process = dict(num_workers=0, persistent_workers=False)
launcher = 'none'
load_from = None
log_level = 'INFO'
max_epochs = 10
model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        init_cfg=dict(
            checkpoint='work_dirs/ablation/long/seed0/full/epoch_4.pth',
            type='clasp_mm.Pretrained'),
        moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
        task='appearance',
        type='clasp_mm.PCMoESwin',
        window_size=4),
    data_preprocessor=dict(
        mean=[
            127.5,
            127.5,
            127.5,
        ], std=[
            127.5,
            127.5,
            127.5,
        ], to_rgb=True),
    head=dict(
        in_channels=256,
        num_classes=100,
        test_feature='after',
        triplet_weight=0.0,
        type='clasp_mm.ReIDHead'),
    neck=dict(type='GlobalAveragePooling'),
    type='ImageClassifier')
nano = dict(
    arch='nano',
    drop_path_rate=0.0,
    init_cfg=dict(
        checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'),
    moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
    window_size=4)
num_identities = 751
optim_wrapper = dict(
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.001, type='AdamW', weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict({
            'bias': dict(lr_mult=2.0),
            'moe.b1': dict(lr_mult=2.0),
            'moe.b2': dict(lr_mult=2.0),
            'moe.prompts': dict(decay_mult=0.0)
        })),
    type='OptimWrapper')
pack = dict(
    meta_keys=(
        'sample_idx',
        'img_path',
        'pid',
        'camera',
        'is_query',
    ),
    type='PackInputs')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=25, start_factor=0.01, type='LinearLR'),
    dict(
        T_max=9,
        begin=1,
        by_epoch=True,
        end=10,
        eta_min_ratio=0.01,
        type='CosineAnnealingLR'),
]
randomness = dict(seed=0)
resize = dict(
    backend='pillow', scale=(
        128,
        384,
    ), type='Resize')
resume = False
size = (
    64,
    32,
)
test_cfg = dict()
test_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root='work_dirs/quickstart_downstream/data/reid/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                backend='pillow',
                interpolation='bilinear',
                scale=(
                    32,
                    64,
                ),
                type='Resize'),
            dict(
                meta_keys=(
                    'sample_idx',
                    'img_path',
                    'pid',
                    'camera',
                    'is_query',
                ),
                type='PackInputs'),
        ],
        split='test',
        type='clasp_mm.Market1501'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    rerank=dict(k1=20, k2=6, lambda_value=0.3), type='clasp_mm.ReIDMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        backend='pillow',
        interpolation='bilinear',
        scale=(
            32,
            64,
        ),
        type='Resize'),
    dict(
        meta_keys=(
            'sample_idx',
            'img_path',
            'pid',
            'camera',
            'is_query',
        ),
        type='PackInputs'),
]
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=5)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root='work_dirs/quickstart_downstream/data/reid/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                backend='pillow',
                interpolation='bicubic',
                scale=(
                    32,
                    64,
                ),
                type='Resize'),
            dict(direction='horizontal', prob=0.5, type='RandomFlip'),
            dict(crop_size=(
                64,
                32,
            ), padding=3, type='RandomCrop'),
            dict(
                erase_prob=0.5,
                fill_color=(
                    127.5,
                    127.5,
                    127.5,
                ),
                fill_std=(
                    127.5,
                    127.5,
                    127.5,
                ),
                max_area_ratio=0.3333333333333333,
                min_area_ratio=0.02,
                mode='rand',
                type='RandomErasing'),
            dict(
                meta_keys=(
                    'sample_idx',
                    'img_path',
                    'pid',
                    'camera',
                    'is_query',
                ),
                type='PackInputs'),
        ],
        split='train',
        type='clasp_mm.Market1501'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(
        num_identities=8, num_instances=4, type='clasp_mm.IdentitySampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        backend='pillow',
        interpolation='bicubic',
        scale=(
            32,
            64,
        ),
        type='Resize'),
    dict(direction='horizontal', prob=0.5, type='RandomFlip'),
    dict(crop_size=(
        64,
        32,
    ), padding=3, type='RandomCrop'),
    dict(
        erase_prob=0.5,
        fill_color=(
            127.5,
            127.5,
            127.5,
        ),
        fill_std=(
            127.5,
            127.5,
            127.5,
        ),
        max_area_ratio=0.3333333333333333,
        min_area_ratio=0.02,
        mode='rand',
        type='RandomErasing'),
    dict(
        meta_keys=(
            'sample_idx',
            'img_path',
            'pid',
            'camera',
            'is_query',
        ),
        type='PackInputs'),
]
val_cfg = dict()
val_dataloader = dict(
    batch_size=128,
    dataset=dict(
        data_root='work_dirs/quickstart_downstream/data/reid/',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                backend='pillow',
                interpolation='bilinear',
                scale=(
                    32,
                    64,
                ),
                type='Resize'),
            dict(
                meta_keys=(
                    'sample_idx',
                    'img_path',
                    'pid',
                    'camera',
                    'is_query',
                ),
                type='PackInputs'),
        ],
        split='test',
        type='clasp_mm.Market1501'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(type='clasp_mm.ReIDMetric')
work_dir = 'work_dirs/quickstart_downstream/reid-long/seed0/full'
