_base_ = '../_base_/reid_market1501-384x128.py'

model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    head=dict(in_channels=768))
optim_wrapper = dict(optimizer=dict(lr=8e-4))
