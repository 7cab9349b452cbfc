_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table IV, Var-3: six experts, so that every image uses all.
model = dict(backbone=dict(moe=dict(num_experts=6)))
