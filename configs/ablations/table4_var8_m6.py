_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table IV, Var-8: six prompts; every task owns two and uses their mean.
model = dict(backbone=dict(moe=dict(num_prompts=6)))
