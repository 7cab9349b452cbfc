# LUPerson with DINO's crops as SOLIDER set them for people.
multi_crop = dict(
    type='clasp_mm.MultiCrop',
    num_global=2,
    global_size=(256, 128),
    global_scale=(0.8, 1.0),
    num_local=8,
    local_size=(128, 64),
    local_scale=(0.05, 0.8),
    aspect_ratio=(0.4, 0.6))
train_pipeline = [
    multi_crop,
    dict(type='clasp_mm.PackViews'),
]
train_dataloader = dict(
    batch_size=96,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='clasp_mm.ResumableSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='clasp_mm.LUPerson', data_root='data/luperson/', pipeline=train_pipeline))
