def load_stage1(model, path): raise NotImplementedError
