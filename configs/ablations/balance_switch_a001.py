_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Balance of the experts by the paper's term, of Switch Transformer's form, alpha = 0.01.
model = dict(balance='switch', balance_weight=0.01)
