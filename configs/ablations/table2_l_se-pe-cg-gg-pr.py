_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table II, L (SE, PE, CG, GG, PR), and Table III, prompt-controlled gate x last stage: all of the
# PC-MoE, after the last stage.
model = dict(backbone=dict(moe=dict(stages=(3, ))))
