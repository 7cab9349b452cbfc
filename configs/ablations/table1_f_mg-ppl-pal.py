_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table I, F (MG, PPL, PAL): parts and attributes without PC-MoE; the baseline of Tables II and III.
model = dict(backbone=dict(moe=None))
