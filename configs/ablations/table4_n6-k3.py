_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# The other reading of Table IV: six experts, of which an image uses three; twice as wide, so that
# they have about as many parameters in all.
model = dict(
    backbone=dict(
        moe=dict(
            num_experts=6,
            top_k=3,
            expert_hidden=2 * _base_.model.backbone.moe.expert_hidden)))
