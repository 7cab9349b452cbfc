_base_ = './attribute_peta-zs-256x192.py'

# SOLIDER's list of steps for RAP-zs is not used: its schedule is the one of the plateau.
model = dict(head=dict(num_attributes=53))
data_root = 'data/rap2/'
data = dict(data_root=data_root, data_prefix='RAP_dataset')
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
param_scheduler = [_base_.plateau]
