_base_ = './dino_swin-nano_1xb32_synthetic-64x32.py'

# More DINO from stage 1: what CLASP is compared with, at equal epochs.
max_epochs = 7
model = dict(stage1='work_dirs/quickstart/seed0/dino.pth')
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-2, by_epoch=True, begin=0, end=1,
         convert_to_iter_based=True),
    dict(type='mmengine.CosineAnnealingLR', T_max=max_epochs - 1, eta_min=1e-5, by_epoch=True,
         begin=1, end=max_epochs, convert_to_iter_based=True),
    dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0,
         end=max_epochs, convert_to_iter_based=True),
]
