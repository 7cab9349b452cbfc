_base_ = '../_base_/csp_citypersons-1024x2048.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')))
