_base_ = '../_base_/attribute_rap-zs-256x192.py'

model = dict(
    backbone=dict(
        arch='tiny', init_cfg=dict(checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    head=dict(in_channels=768))
