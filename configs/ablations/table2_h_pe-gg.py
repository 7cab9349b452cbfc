_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table II, H (PE, GG): the gate sees the prompt alone.
model = dict(
    backbone=dict(
        moe=dict(
            stages=(3, ),
            self_embedding=False,
            channel_gate=False,
            prompt_residual=False)))
