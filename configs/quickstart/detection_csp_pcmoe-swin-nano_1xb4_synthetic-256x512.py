_base_ = [
    '../_base_/csp_citypersons-1024x2048.py',
    '../_base_/quickstart_nano.py',
]

# Minutes on one core: nano Swin, a slim head, and drawn streets of 256x512 seen at half their size,
# where people are about as large as in the crops of pretraining. Heights alone, as in CSP's own paper;
# the drawn people are 0.36 as wide as high.
# Selection: on the val split of the drawn streets the best checkpoint is kept beside the last; the
# table in configs/detection/README.md has every validation, none chosen.
model = dict(
    backbone=_base_.nano,
    neck=dict(in_channels=(64, 128, 256), out_channels=64),
    bbox_head=dict(
        in_channels=192, feat_channels=64, predict_width=False, aspect_ratio=0.36),
    train_cfg=dict(min_width=6))
size = (256, 128)
train_pipeline = _base_.train_pipeline
train_pipeline[4].update(scale=size, ratio_range=(0.7, 1.5))
train_pipeline[5].crop_size = size
train_pipeline[6].size = size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size
data_root = 'work_dirs/quickstart_downstream/data/detection/'
train_dataloader = dict(
    batch_size=4,
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 12  # longer and 160 streets are learnt by heart
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='mmengine.LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='mmengine.CosineAnnealingLR', T_max=max_epochs, eta_min=1e-5, by_epoch=True, begin=0,
         end=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(max_keep_ckpts=2, save_best='miss_rate/Reasonable', rule='less'))
custom_hooks = [
    dict(type='mmengine.EMAHook', momentum=0.02),
    dict(type='clasp_mm.RunRecordHook'),
]
env_cfg = dict(dist_cfg=dict(backend='gloo'))
randomness = dict(seed=0)
