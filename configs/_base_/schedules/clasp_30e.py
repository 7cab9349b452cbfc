_base_ = './dino_100e.py'

# Stage 2: 30 epochs at lr 3e-4 (for every 256 images, as stage 1), 3 epochs of warm-up.
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=3,
         convert_to_iter_based=True),
    dict(type='mmengine.CosineAnnealingLR', T_max=27, eta_min=1e-6, by_epoch=True, begin=3,
         end=30, convert_to_iter_based=True),
    dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0,
         end=30, convert_to_iter_based=True),
]
