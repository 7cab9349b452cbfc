_base_ = '../_base_/attribute_peta-zs-256x192.py'
