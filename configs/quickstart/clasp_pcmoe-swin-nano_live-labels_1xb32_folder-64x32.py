_base_ = './clasp_pcmoe-swin-nano_1xb32_synthetic-64x32.py'

# A small folder of crops, labelled as they are read: no store. Name your folder by
#   --cfg-options train_dataloader.dataset.data_root=DIR
teacher = dict(
    type='clasp_mm.PCMoESwin',
    arch='nano',
    moe=None,
    window_size=4,
    out_indices=(0, 1, 2, 3),
    init_cfg=dict(
        type='Pretrained', checkpoint='work_dirs/quickstart/seed0/dino.pth'))
train_pipeline = [
    dict(
        type='clasp_mm.CLIPPseudoLabeler',
        labeler=dict(
            clip=dict(name='local-dir:work_dirs/quickstart/mini_clip', pretrained=None),
            teacher=teacher,
            stage=0,
            input_size=(128, 64),
            image_size=(128, 64),
            foreground='centre',
            position_weight=1.0,
            min_foreground=0.1)),
    _base_.multi_crop,
    dict(type='clasp_mm.PackViews'),
]
train_dataloader = dict(
    dataset=dict(data_root='data/crops', ann_file='', pipeline=train_pipeline))
model = dict(stage1='work_dirs/quickstart/seed0/dino.pth')
