"""Fused to answers: one kind of answer per file."""

from plait.model.heads.base import Head
from plait.model.heads.classify import Classify, MultiLabel
from plait.model.heads.registry import HEADS, build_head
from plait.model.heads.regress import Regress

__all__ = ["HEADS", "Classify", "Head", "MultiLabel", "Regress", "build_head"]
