_base_ = '../pretrain/clasp_pcmoe-swin-tiny_8xb96-30e_luperson1m-256x128.py'

# Table III, prompt-controlled gate x all stages, and Table IV, default: CLASP itself.
