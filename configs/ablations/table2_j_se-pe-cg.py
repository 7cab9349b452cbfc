_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table II, J (SE, PE, CG): every expert has the same weight, times its channel gate.
model = dict(backbone=dict(moe=dict(stages=(3, ), global_gate=False, prompt_residual=False)))
