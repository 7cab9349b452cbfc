_base_ = [
    '../_base_/models/dino_swin.py',
    '../_base_/datasets/luperson_256x128.py',
    '../_base_/schedules/dino_100e.py',
    '../_base_/default_runtime.py',
]
# A few minutes on one core: nano Swin, half-size crops, few prototypes.
model = dict(
    backbone=dict(arch='nano', window_size=4, drop_path_rate=0.),
    head=dict(in_channels=256, out_dim=1024, hidden_dim=512, bottleneck_dim=128),
    momentum=0.99)
multi_crop = dict(
    type='clasp_mm.MultiCrop',
    num_global=2,
    global_size=(128, 64),
    global_scale=(0.5, 1.0),
    num_local=4,
    local_size=(64, 32),
    local_scale=(0.05, 0.5),
    aspect_ratio=(0.4, 0.6))
train_pipeline = [multi_crop, dict(type='clasp_mm.PackViews')]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(data_root='work_dirs/quickstart/data/train', pipeline=train_pipeline))
max_epochs = 5
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(enable=False)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=1,
         convert_to_iter_based=True),
    dict(type='mmengine.CosineAnnealingLR', T_max=max_epochs - 1, eta_min=1e-5, by_epoch=True,
         begin=1, end=max_epochs, convert_to_iter_based=True),
    dict(type='mmpretrain.CosineAnnealingWeightDecay', eta_min=0.4, by_epoch=True, begin=0,
         end=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
