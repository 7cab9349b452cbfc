_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table I, E (PAL): attributes; neither parts nor PC-MoE.
model = dict(backbone=dict(moe=None, out_indices=(3, )), part_head=None)
