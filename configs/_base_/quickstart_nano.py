# What the quickstart's downstream configs take by name: the backbone pretrained in minutes, and
# data read in the training's own process.
nano = dict(
    arch='nano',
    window_size=4,
    drop_path_rate=0.,
    moe=dict(num_experts=10, top_k=6, num_prompts=3, expert_hidden=8),
    init_cfg=dict(checkpoint='work_dirs/quickstart/seed0/published/clasp_nano.pth'))
in_process = dict(num_workers=0, persistent_workers=False)
