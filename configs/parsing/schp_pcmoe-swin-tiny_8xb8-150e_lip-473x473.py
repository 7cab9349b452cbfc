_base_ = './schp_pcmoe-swin-tiny_8xb8-150e_lip-572x384.py'

# The original SCHP's: size, weight decay, 10 epochs of warm-up, cycles from epoch 100, floor 1/100.
size = (473, 473)
train_pipeline = _base_.train_pipeline
train_pipeline[3].size = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].size = size
tta_pipeline = _base_.tta_pipeline
for step in tta_pipeline[1].transforms[1]:
    step.size = [int(new * scaled / old) for new, scaled, old in zip(size, step.size, _base_.size)]
model = dict(data_preprocessor=dict(size=size))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(weight_decay=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, begin=0, end=11),
    dict(type='CosineAnnealingLR', T_max=90, eta_min_ratio=0.01, by_epoch=True, begin=10, end=100),
    dict(type='CosineRestartLR', periods=[10] * 5, restart_weights=[0.5] * 5, eta_min_ratio=0.01,
         by_epoch=True, begin=100, end=150),
]
custom_hooks = [
    dict(type='clasp_mm.ExactResumeHook'),
    dict(type='clasp_mm.SelfCorrectionHook', start=100, interval=10),
]
