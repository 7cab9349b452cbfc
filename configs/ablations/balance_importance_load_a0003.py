_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Balance of the experts by Shazeer's importance and load, alpha = 0.003.
model = dict(balance='importance_load', balance_weight=0.003)
