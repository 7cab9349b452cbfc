_base_ = [
    '../_base_/models/ce2p_pcmoe-swin.py',
    '../_base_/datasets/lip_572x384.py',
    '../_base_/schedules/schp_150e.py',
    '../_base_/parsing_runtime.py',
]
