_base_ = '../_base_/seqnet_pcmoe-swin.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')))
train_dataloader = dict(batch_size=3)
