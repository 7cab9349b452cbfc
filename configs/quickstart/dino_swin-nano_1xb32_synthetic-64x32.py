_base_ = [
    '../_base_/models/dino_swin.py',
    '../_base_/datasets/luperson_256x128.py',
    '../_base_/schedules/dino_100e.py',
    '../_base_/default_runtime.py',
]
# Minutes on one core: nano Swin, small crops, and colours that a short run can learn. So few steps do
# better with targets balanced over the batch than with DINO's centre (docs/paper.md, Quickstart), and without
# local crops, which draw a short run to the street behind.
model = dict(
    backbone=dict(arch='nano', window_size=4, drop_path_rate=0.),
    head=dict(in_channels=256, out_dim=1024, hidden_dim=512, bottleneck_dim=128),
    momentum=0.99,
    centering='sinkhorn_knopp',
    teacher_temp=0.01,
    warmup_teacher_temp=0.01,
    freeze_last_layer_epochs=0)
multi_crop = dict(
    type='clasp_mm.MultiCrop',
    num_global=2,
    global_size=(64, 32),
    global_scale=(0.8, 1.0),
    num_local=0,
    aspect_ratio=(0.4, 0.6),
    jitter=(0.8, 0.8, 0.4, 0.1),
    jitter_prob=1.0,
    gray_prob=0.,
    global_blur_prob=(0.5, 0.1),
    solarize_prob=0.,
    map_size=(16, 8))
train_pipeline = [multi_crop, dict(type='clasp_mm.PackViews')]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        data_root='work_dirs/quickstart/data/train',
        ann_file='list.txt',
        pipeline=train_pipeline))
max_epochs = 12
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
