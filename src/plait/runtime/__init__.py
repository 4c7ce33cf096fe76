"""Answers from an exported model with onnxruntime and numpy, without torch.

from plait.runtime import Runtime

model = Runtime("app")
answers = model.predict("new.csv")
answer = model.answer([{"photo": photo_bytes, "text": "a cat"}])
"""

from plait.runtime.runtime import Runtime

__all__ = ["Runtime"]
