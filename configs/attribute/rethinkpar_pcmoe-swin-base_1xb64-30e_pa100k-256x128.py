_base_ = '../_base_/attribute_pa100k-256x128.py'
