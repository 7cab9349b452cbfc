_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table IV, Var-4: twelve experts.
model = dict(backbone=dict(moe=dict(num_experts=12)))
