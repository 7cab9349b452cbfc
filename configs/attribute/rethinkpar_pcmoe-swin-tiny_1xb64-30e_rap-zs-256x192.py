_base_ = '../_base_/attribute_peta-zs-256x192.py'

model = dict(
    backbone=dict(
        arch='tiny', init_cfg=dict(checkpoint='clasp_pcmoe-swin-tiny_luperson')),
    head=dict(in_channels=768, num_attributes=53))
data_root = 'data/rap2/'
data = dict(data_root=data_root, data_prefix='RAP_dataset')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
