_base_ = './dino_100e.py'

# As SOLIDER goes on from DINO: 10 epochs at lr 5e-5 (for every 256 images), 1 epoch of warm-up.
optim_wrapper = dict(optimizer=dict(lr=5e-5))
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=1,
         convert_to_iter_based=True),
    dict(type='mmengine.CosineAnnealingLR', T_max=9, eta_min=1e-6, by_epoch=True, begin=1,
         end=10, convert_to_iter_based=True),
    dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0,
         end=10, convert_to_iter_based=True),
]
