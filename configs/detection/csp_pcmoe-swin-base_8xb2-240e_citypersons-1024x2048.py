_base_ = '../_base_/csp_citypersons-1024x2048.py'

model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='clasp_pcmoe-swin-base_luperson')),
    neck=dict(in_channels=(256, 512, 1024)))
train_dataloader = dict(batch_size=2)
