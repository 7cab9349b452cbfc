# data/lip as tools/dataset_converters/lip.py leaves it. Images fit the size with their aspect kept;
# scale, rotation and flip are SCHP's.
dataset_type = 'clasp_mm.LIP'
data_root = 'data/lip/'
size = (572, 384)
swap_seg_labels = [(14, 15), (16, 17), (18, 19)]  # left and right arm, leg, shoe
meta_keys = ('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'pad_shape', 'affine',
             'padding_size', 'scale_factor', 'flip', 'flip_direction', 'reduce_zero_label')
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='clasp_mm.CheckLabelMap', num_classes=20),
    dict(type='clasp_mm.PersonAffine', size=size, scale_std=0.25, rotation_std=30.),
    dict(type='RandomFlip', prob=0.5, swap_seg_labels=swap_seg_labels),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='clasp_mm.PersonAffine', size=size),
    dict(type='LoadAnnotations'),
    dict(type='clasp_mm.CheckLabelMap', num_classes=20),
    dict(type='PackSegInputs', meta_keys=meta_keys),
]
# tools/test.py --tta; logits are averaged at the first's size
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)],
            [dict(type='clasp_mm.PersonAffine', size=[int(side * scale) for side in size])
             for scale in (1., 0.5, 0.75, 1.25, 1.5)],
            [dict(type='LoadAnnotations')],
            [dict(type='clasp_mm.CheckLabelMap', num_classes=20)],
            [dict(type='PackSegInputs', meta_keys=meta_keys)],
        ]),
]
tta_model = dict(type='clasp_mm.ParsingTTAModel', swap_seg_labels=swap_seg_labels)
loading = dict(num_workers=4, persistent_workers=True)
train_dataloader = dict(
    **loading,
    batch_size=8,
    drop_last=True,  # batch norm of a pooled cell has no variance in a batch of one
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='train_id.txt',
        data_prefix=dict(
            img_path='train_images',
            seg_map_path='TrainVal_parsing_annotations/train_segmentations'),
        pipeline=train_pipeline))
val_dataloader = dict(
    **loading,
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type, data_root=data_root, ann_file='val_id.txt', data_prefix=dict(
            img_path='val_images', seg_map_path='TrainVal_parsing_annotations/val_segmentations'),
        test_mode=True, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
