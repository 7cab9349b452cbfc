_base_ = './schp_pcmoe-swin-tiny_8xb8-150e_lip-572x384.py'
model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')))
