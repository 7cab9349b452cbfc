_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table I, C (MG): as B, of several granularities.
model = dict(
    backbone=dict(moe=None),
    part_head=dict(num_classes=1 + 5),
    attr_head=None)
train_pipeline = [
    dict(_base_.train_pipeline[0], naming='order'),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
