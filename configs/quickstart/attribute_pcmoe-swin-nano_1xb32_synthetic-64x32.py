_base_ = [
    '../_base_/attribute_pa100k-256x128.py',
    '../_base_/quickstart_nano.py',
]

# Minutes on one core: people as large as in the quickstart's pretraining, a larger learning rate
# for few steps.
size = (64, 32)
model = dict(
    backbone=_base_.nano,
    head=dict(in_channels=256))
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = size[::-1]
train_pipeline[2].update(crop_size=size, padding=2)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size[::-1]
data_root = 'work_dirs/quickstart_downstream/data/attribute/'
train_dataloader = dict(
    batch_size=32,
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(
    **_base_.in_process,
    dataset=dict(data_root=data_root, split='val', pipeline=test_pipeline))
max_epochs = 9
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='MultiStepLR', milestones=[7], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(logger=dict(interval=10))
env_cfg = dict(dist_cfg=dict(backend='gloo'))
