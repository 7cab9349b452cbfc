_base_ = '../_base_/pose_coco-384x288.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')),
    head=dict(in_channels=768))
train_dataloader = dict(batch_size=8)
auto_scale_lr = dict(base_batch_size=64)
