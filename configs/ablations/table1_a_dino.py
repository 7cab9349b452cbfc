_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table I, A: DINO alone, for as many more epochs and on the same schedule as the rows below. The
# paper's A is stage 1 as it is.
model = dict(
    backbone=dict(moe=None, out_indices=(3, )),
    part_head=None,
    attr_head=None)
