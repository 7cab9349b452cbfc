auto_scale_lr = dict(base_batch_size=256, enable=False)
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.FiniteHook'),
    dict(type='clasp_mm.AcceptedLabelsHook'),
    dict(type='clasp_mm.TeacherHook'),
    dict(type='clasp_mm.SkippedImagesHook'),
    dict(interval=50, type='clasp_mm.HealthHook'),
    dict(type='clasp_mm.RunRecordHook'),
]
custom_imports = dict(imports=[
    'clasp_mm',
])
default_hooks = dict(
    checkpoint=dict(
        interval=1, max_keep_ckpts=2, type='clasp_mm.SafeCheckpointHook'),
    logger=dict(interval=10, type='mmengine.LoggerHook'),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    runtime_info=dict(type='clasp_mm.StepValuesHook'),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
    timer=dict(type='mmengine.IterTimerHook'))
default_scope = 'mmpretrain'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='gloo'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
launcher = 'none'
load_from = None
log_level = 'INFO'
max_epochs = 7
model = dict(
    attr_head=None,
    attr_weight=16.0,
    backbone=dict(
        arch='nano',
        drop_path_rate=0.0,
        moe=None,
        out_indices=(3, ),
        type='clasp_mm.PCMoESwin',
        window_size=4),
    balance='importance_load',
    balance_weight=0.003,
    center_momentum=0.9,
    centering='sinkhorn_knopp',
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
        type='clasp_mm.ViewPreprocessor'),
    freeze_last_layer_epochs=0,
    head=dict(
        bottleneck_dim=128,
        hidden_dim=512,
        in_channels=256,
        out_dim=1024,
        type='clasp_mm.DINOHead'),
    momentum=0.99,
    num_global=2,
    part_head=None,
    part_weight=16.0,
    semantic_views='one',
    stage1='work_dirs/ablation/long/seed0/dino/epoch_8.pth',
    student_temp=0.1,
    teacher_temp=0.01,
    type='clasp_mm.CLASP',
    warmup_teacher_temp=0.01)
multi_crop = dict(
    aspect_ratio=(
        0.4,
        0.6,
    ),
    global_blur_prob=(
        0.5,
        0.1,
    ),
    global_scale=(
        0.8,
        1.0,
    ),
    global_size=(
        64,
        32,
    ),
    gray_prob=0.0,
    jitter=(
        0.8,
        0.8,
        0.4,
        0.1,
    ),
    jitter_prob=1.0,
    local_scale=(
        0.05,
        0.8,
    ),
    local_size=(
        128,
        64,
    ),
    map_size=(
        16,
        8,
    ),
    num_global=2,
    num_local=0,
    solarize_prob=0.0,
    type='clasp_mm.MultiCrop')
optim_wrapper = dict(
    clip_each=3.0,
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(lr=0.001, type='AdamW', weight_decay=0.04),
    paramwise_cfg=dict(
        bias_decay_mult=0.0,
        custom_keys=dict({'.moe.': dict(lr_mult=10.0)}),
        flat_decay_mult=0.0,
        norm_decay_mult=0.0),
    type='clasp_mm.DINOOptimWrapper')
param_scheduler = [
    dict(
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
        end=1,
        start_factor=0.01,
        type='mmengine.LinearLR'),
    dict(
        T_max=3,
        begin=1,
        by_epoch=True,
        convert_to_iter_based=True,
        end=4,
        eta_min=1e-05,
        type='mmengine.CosineAnnealingLR'),
    dict(
        begin=0,
        by_epoch=True,
        convert_to_iter_based=True,
        end=4,
        eta_min=0.4,
        type='mmpretrain.CosineAnnealingWeightDecay'),
]
randomness = dict(seed=0)
resume = False
train_cfg = dict(max_epochs=4, type='mmengine.EpochBasedTrainLoop')
train_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        ann_file='list.txt',
        data_root='work_dirs/ablation/long/data/train',
        pipeline=[
            dict(
                cluster_numbers=(
                    3,
                    4,
                    5,
                ),
                store='work_dirs/ablation/long/seed0/labels-12993ded',
                type='clasp_mm.CLIPPseudoLabeler'),
            dict(
                aspect_ratio=(
                    0.4,
                    0.6,
                ),
                global_blur_prob=(
                    0.5,
                    0.1,
                ),
                global_scale=(
                    0.8,
                    1.0,
                ),
                global_size=(
                    64,
                    32,
                ),
                gray_prob=0.0,
                jitter=(
                    0.8,
                    0.8,
                    0.4,
                    0.1,
                ),
                jitter_prob=1.0,
                local_scale=(
                    0.05,
                    0.8,
                ),
                local_size=(
                    128,
                    64,
                ),
                map_size=(
                    16,
                    8,
                ),
                num_global=2,
                num_local=0,
                solarize_prob=0.0,
                type='clasp_mm.MultiCrop'),
            dict(type='clasp_mm.PackViews'),
        ],
        type='clasp_mm.LUPerson'),
    drop_last=True,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    sampler=dict(shuffle=True, type='clasp_mm.ResumableSampler'))
train_pipeline = [
    dict(
        cluster_numbers=(
            3,
            4,
            5,
        ),
        store='work_dirs/quickstart/seed0/labels',
        type='clasp_mm.CLIPPseudoLabeler'),
    dict(
        aspect_ratio=(
            0.4,
            0.6,
        ),
        global_blur_prob=(
            0.5,
            0.1,
        ),
        global_scale=(
            0.8,
            1.0,
        ),
        global_size=(
            64,
            32,
        ),
        gray_prob=0.0,
        jitter=(
            0.8,
            0.8,
            0.4,
            0.1,
        ),
        jitter_prob=1.0,
        local_scale=(
            0.05,
            0.8,
        ),
        local_size=(
            128,
            64,
        ),
        map_size=(
            16,
            8,
        ),
        num_global=2,
        num_local=0,
        solarize_prob=0.0,
        type='clasp_mm.MultiCrop'),
    dict(type='clasp_mm.PackViews'),
]
work_dir = 'work_dirs/ablation/long/seed0/table1_a_dino'
