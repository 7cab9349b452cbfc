_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table II, G (SE, GG), and Table III, one gate x last stage: a mixture of experts whose gate sees
# the tokens alone, after the last stage.
model = dict(
    backbone=dict(
        moe=dict(
            stages=(3, ),
            prompt_embedding=False,
            channel_gate=False,
            prompt_residual=False)))
