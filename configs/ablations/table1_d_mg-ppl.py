_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table I, D (MG, PPL): parts of several granularities with CLIP's names; neither attributes nor
# PC-MoE.
model = dict(backbone=dict(moe=None), attr_head=None)
