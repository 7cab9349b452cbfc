"""Fine-tuned models on images, by the same three functions for each task.

In the module of a task, ``load(config, checkpoint, device)`` gives a model, ``predict(model,
images)`` a dict of arrays for each image, at most ``batch_size`` of one size in one forward, and
``draw(image, result)`` a picture of it. Images and pictures are (H, W, 3) uint8, BGR. Their hosts
are imported when they are called. :func:`clasp_mm.inference` is the one call over all of them.
"""
