"""Fine-tuned models on images, by the same three functions for each task.

Of ``pose``, ``parsing``, ``detection`` and ``attribute``, ``load(config, checkpoint, device)``
gives a model, ``predict(model, images)`` a dict of arrays for each image, and ``draw(image,
result)`` a picture of it. Their hosts are imported when they are called.
"""
