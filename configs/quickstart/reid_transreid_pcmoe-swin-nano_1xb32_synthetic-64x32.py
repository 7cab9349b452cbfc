_base_ = [
    '../reid/transreid_pcmoe-swin-tiny_1xb64-120e_market1501-384x128.py',
    '../_base_/quickstart_nano.py',
]

# Minutes on one core: people as large as in the quickstart's pretraining, a small network, AdamW. No triplet
# loss: in so few steps its hardest pairs pull all features together (configs/reid/README.md, Our numbers).
size = (64, 32)
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = size[::-1]
train_pipeline[3].update(crop_size=size, padding=3)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = size[::-1]
model = dict(
    backbone=_base_.nano,
    head=dict(num_classes=100, in_channels=256, triplet_weight=0., test_feature='after'))
data_root = 'work_dirs/quickstart_downstream/data/reid/'
train_dataloader = dict(
    batch_size=32,
    **_base_.in_process,
    sampler=dict(num_identities=8),
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    **_base_.in_process,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=25),
    dict(type='CosineAnnealingLR', T_max=9, eta_min_ratio=0.01, by_epoch=True, begin=1,
         end=max_epochs),
]
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(interval=5, save_best='reid/mAP', rule='greater'))  # of synthetic people
env_cfg = dict(dist_cfg=dict(backend='gloo'))
