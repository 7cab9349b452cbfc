_base_ = './seqnet_pcmoe-swin-tiny_1xb4-18e_prw-900x1500.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='clasp_pcmoe-swin-small_luperson')))
train_dataloader = dict(batch_size=3)
