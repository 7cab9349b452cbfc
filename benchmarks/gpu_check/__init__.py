"""The stages of ``tools/gpu_check.py``: is this GPU right, and how fast is it?"""
