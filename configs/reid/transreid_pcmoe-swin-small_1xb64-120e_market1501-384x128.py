_base_ = '../_base_/reid_market1501-384x128.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')),
    head=dict(in_channels=768))
