_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table IV, Var-7: two prompts; part and attribute share one.
model = dict(backbone=dict(moe=dict(num_prompts=2)))
