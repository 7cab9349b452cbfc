_base_ = '../parsing/schp_pcmoe-swin-tiny_8xb8-150e_lip-572x384.py'

# Minutes on one core: people as large as in the quickstart's pretraining, a small head, AdamW without frozen weights, two cycles of three epochs.
size = (64, 32)
train_pipeline = _base_.train_pipeline
train_pipeline[3].size = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = size
tta_pipeline = _base_.tta_pipeline
for step in tta_pipeline[1].transforms[1]:
    step.size = [round(new * scaled / old) for new, scaled, old in zip(size, step.size, _base_.size)]
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(
        arch='nano',
        window_size=4,
        moe=dict(num_experts=10, top_k=6, num_prompts=3, expert_hidden=8),
        drop_path_rate=0.,
        init_cfg=dict(checkpoint='clasp_nano')),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=64,
        context_channels=64,
        detail_channels=16,
        edge_channels=32,
        norm_cfg=dict(type='BN')))
data_root = 'work_dirs/quickstart_downstream/data/parsing/'
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
auto_scale_lr = dict(enable=False)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.5, by_epoch=True, begin=0, end=2),
    dict(type='CosineAnnealingLR', T_max=16, eta_min_ratio=0.01, by_epoch=True, begin=2, end=18),
    dict(type='CosineRestartLR', periods=[3, 3], restart_weights=[0.5, 0.5], eta_min_ratio=0.01,
         by_epoch=True, begin=18, end=max_epochs),
]
default_hooks = dict(
    logger=dict(interval=5),
    checkpoint=dict(save_best='mIoU'))  # of the synthetic val split, which is no test
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.SelfCorrectionHook', start=18, interval=3),
]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
