_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table IV, Var-1: S = {2, 3, 4}.
train_pipeline = [
    dict(_base_.train_pipeline[0], cluster_numbers=(2, 3, 4)),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
