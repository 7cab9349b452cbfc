# SOLIDER's: 30 epochs of warm-up, a cosine to epoch 120, then self-correction in cycles of 10
# epochs from half the rate. The patch embedding is frozen.
max_epochs = 150
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=7e-3, momentum=0.9, weight_decay=0.),
    paramwise_cfg=dict(custom_keys={
        'backbone.patch_embed': dict(lr_mult=0., decay_mult=0.),
        'moe.prompts': dict(decay_mult=0.)}))  # decay would shrink those of other tasks
auto_scale_lr = dict(enable=True, base_batch_size=64)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 500, by_epoch=True, begin=0, end=31),
    dict(type='CosineAnnealingLR', T_max=90, eta_min_ratio=1 / 500, by_epoch=True, begin=30,
         end=120),
    dict(type='CosineRestartLR', periods=[10, 10, 10], restart_weights=[0.5, 0.5, 0.5],
         eta_min_ratio=1 / 500, by_epoch=True, begin=120, end=max_epochs),
]
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='clasp_mm.SafeCheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'))
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.SelfCorrectionHook', start=120, interval=10),
]
