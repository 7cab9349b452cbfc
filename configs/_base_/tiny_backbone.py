# The backbone that configs of the hosts' own models take by name.
tiny = dict(
    type='clasp_mm.PCMoESwin',
    arch='tiny',
    task='part',
    init_cfg=dict(type='clasp_mm.Pretrained', checkpoint='clasp_pcmoe-swin-tiny_luperson'))
