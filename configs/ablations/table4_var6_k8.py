_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table IV, Var-6: an image uses eight experts.
model = dict(backbone=dict(moe=dict(top_k=8)))
