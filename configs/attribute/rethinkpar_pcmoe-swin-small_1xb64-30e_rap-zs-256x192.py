_base_ = '../_base_/attribute_rap-zs-256x192.py'

model = dict(
    backbone=dict(
        arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')),
    head=dict(in_channels=768))
