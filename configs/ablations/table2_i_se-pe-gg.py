_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table II, I (SE, PE, GG): the gate sees tokens and prompt.
model = dict(backbone=dict(moe=dict(stages=(3, ), channel_gate=False, prompt_residual=False)))
