_base_ = [
    '../parsing/schp_pcmoe-swin-tiny_8xb8-150e_lip-572x384.py',
    '../_base_/quickstart_nano.py',
]

# Minutes on one core: upright people as large as in the quickstart's pretraining, a small head,
# AdamW without frozen weights, two cycles of two epochs.
size = (64, 32)
train_pipeline = _base_.train_pipeline
train_pipeline[3].update(size=size, rotation_std=0.)
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = size
tta_pipeline = _base_.tta_pipeline
for step in tta_pipeline[1].transforms[1]:
    step.size = [int(new * scaled / old) for new, scaled, old in zip(size, step.size, _base_.size)]
model = dict(
    data_preprocessor=dict(size=size),
    backbone=_base_.nano,
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=64,
        context_channels=64,
        detail_channels=16,
        edge_channels=32,
        norm_cfg=dict(type='BN')))
data_root = 'work_dirs/quickstart_downstream/data/parsing/'
train_dataloader = dict(
    batch_size=8,
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'moe.prompts': dict(decay_mult=0.)}))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', T_max=7, eta_min_ratio=0.01, by_epoch=True, begin=1, end=8),
    dict(type='CosineRestartLR', periods=[2, 2], restart_weights=[0.5, 0.5], eta_min_ratio=0.01,
         by_epoch=True, begin=8, end=max_epochs),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(save_best='mIoU'))  # of the synthetic val split, which is no test
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.SelfCorrectionHook', start=8, interval=2),
]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
