_base_ = './luperson_256x128.py'

# The same crops, with the pseudo-labels of tools/make_pseudo_labels.py moved along.
train_pipeline = [
    dict(
        type='clasp_mm.CLIPPseudoLabeler',
        store='data/luperson/pseudo_labels',
        cluster_numbers=(3, 4, 5)),
    _base_.multi_crop,
    dict(type='clasp_mm.PackViews'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
