auto_scale_lr = dict(base_batch_size=32)
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.FiniteHook'),
    dict(select_on_test=False, type='clasp_mm.AttributeHook'),
]
custom_imports = dict(imports=[
    'clasp_mm',
])
data_root = 'work_dirs/quickstart_downstream/data/attribute/'
dataset_type = 'clasp_mm.AttributeDataset'
default_hooks = dict(
    checkpoint=dict(
        interval=1,
        max_keep_ckpts=2,
        rule='greater',
        save_best='attribute/mA',
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
loading = dict(batch_size=64, num_workers=4, persistent_workers=True)
log_level = 'INFO'
max_epochs = 9
model = dict(
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        init_cfg=dict(
            checkpoint='work_dirs/ablation/long/seed0/full/epoch_4.pth',
            type='clasp_mm.Pretrained'),
        moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
        task='attribute',
        type='clasp_mm.PCMoESwin',
        window_size=4),
    data_preprocessor=dict(
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
        to_rgb=True),
    head=dict(
        in_channels=256, num_attributes=26, type='clasp_mm.AttributeHead'),
    neck=dict(type='GlobalAveragePooling'),
    type='ImageClassifier')
nano = dict(
    arch='nano',
    drop_path_rate=0.0,
    init_cfg=dict(
        checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'),
    moe=dict(expert_hidden=8, num_experts=10, num_prompts=3, top_k=6),
    window_size=4)
optim_wrapper = dict(
    clip_grad=dict(max_norm=10),
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.0005, type='Adam', weight_decay=0.0),
    type='OptimWrapper')
param_scheduler = [
    dict(begin=0, by_epoch=False, end=50, start_factor=0.01, type='LinearLR'),
    dict(by_epoch=True, gamma=0.1, milestones=[
        7,
    ], type='MultiStepLR'),
]
people = dict(
    ann_file='annotation.mat',
    data_prefix='data',
    data_root='data/pa100k/',
    type='clasp_mm.AttributeDataset')
plateau = dict(
    factor=0.1,
    monitor='attribute/bce',
    patience=4,
    rule='less',
    type='ReduceOnPlateauLR')
randomness = dict(seed=0)
resize = dict(
    backend='pillow',
    interpolation='bilinear',
    scale=(
        128,
        256,
    ),
    type='Resize')
resume = False
size = (
    64,
    32,
)
test_cfg = dict()
test_dataloader = dict(
    batch_size=64,
    dataset=dict(
        ann_file='annotation.mat',
        data_prefix='data',
        data_root='work_dirs/quickstart_downstream/data/attribute/',
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
            dict(type='PackInputs'),
        ],
        split='val',
        test_mode=True,
        type='clasp_mm.AttributeDataset'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(per_attribute=True, type='clasp_mm.AttributeMetric')
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
    dict(type='PackInputs'),
]
train_cfg = dict(by_epoch=True, max_epochs=9, val_interval=3)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        ann_file='annotation.mat',
        data_prefix='data',
        data_root='work_dirs/quickstart_downstream/data/attribute/',
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
            dict(crop_size=(
                64,
                32,
            ), padding=2, type='RandomCrop'),
            dict(direction='horizontal', prob=0.5, type='RandomFlip'),
            dict(type='PackInputs'),
        ],
        split='train',
        type='clasp_mm.AttributeDataset'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='DefaultSampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        backend='pillow',
        interpolation='bilinear',
        scale=(
            32,
            64,
        ),
        type='Resize'),
    dict(crop_size=(
        64,
        32,
    ), padding=2, type='RandomCrop'),
    dict(direction='horizontal', prob=0.5, type='RandomFlip'),
    dict(type='PackInputs'),
]
val_cfg = dict()
val_dataloader = dict(
    batch_size=64,
    dataset=dict(
        ann_file='annotation.mat',
        data_prefix='data',
        data_root='work_dirs/quickstart_downstream/data/attribute/',
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
            dict(type='PackInputs'),
        ],
        split='val',
        test_mode=True,
        type='clasp_mm.AttributeDataset'),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(type='clasp_mm.AttributeMetric')
work_dir = 'work_dirs/quickstart_downstream/attribute-long/seed0/full'
