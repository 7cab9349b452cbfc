_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table II, K (SE, PE, CG, GG): all but the prompt residual.
model = dict(backbone=dict(moe=dict(stages=(3, ), prompt_residual=False)))
