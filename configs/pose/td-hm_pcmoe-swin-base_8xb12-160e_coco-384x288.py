_base_ = '../_base_/pose_coco-384x288.py'

max_epochs = 160
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=11710, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', begin=0, end=max_epochs, milestones=[120, 150], gamma=0.1,
         by_epoch=True),
]
train_dataloader = dict(batch_size=12)
auto_scale_lr = dict(base_batch_size=96)
