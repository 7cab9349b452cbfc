_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# The other reading of Table IV: six experts, three of them used; twice as wide, so that their size in
# all stays about the same.
model = dict(
    backbone=dict(
        moe=dict(
            num_experts=6,
            top_k=3,
            expert_hidden=2 * _base_.model.backbone.moe.expert_hidden)))
