_base_ = [
    '../_base_/models/clasp_pcmoe-swin.py',
    '../_base_/datasets/luperson_256x128_clip-labels.py',
    '../_base_/schedules/clasp_30e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    stage1='work_dirs/dino_swin-tiny_8xb96-100e_luperson-256x128/epoch_100.pth')
