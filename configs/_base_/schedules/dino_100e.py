# AdamW, lr 5e-4 for every 256 images (auto_scale_lr), 10 epochs of warm-up, cosine to 1e-6;
# weight decay 0.04 -> 0.4 on a cosine, none on biases and other one-dimensional parameters.
optim_wrapper = dict(
    type='clasp_mm.DINOOptimWrapper',
    constructor='clasp_mm.TrainableOptimWrapperConstructor',
    clip_each=3.0,
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.04),
    paramwise_cfg=dict(bias_decay_mult=0., norm_decay_mult=0., flat_decay_mult=0.))
auto_scale_lr = dict(enable=True, base_batch_size=256)
train_cfg = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=100)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-4, by_epoch=True, begin=0, end=10,
         convert_to_iter_based=True),
    dict(type='mmengine.CosineAnnealingLR', T_max=90, eta_min=1e-6, by_epoch=True, begin=10,
         end=100, convert_to_iter_based=True),
    dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0,
         end=100, convert_to_iter_based=True),
]
