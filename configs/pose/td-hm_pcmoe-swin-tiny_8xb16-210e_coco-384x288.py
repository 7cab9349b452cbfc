_base_ = '../_base_/pose_coco-384x288.py'

model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=7e-4, weight_decay=0.))
train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(base_batch_size=128)
