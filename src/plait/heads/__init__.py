"""Fused to answers: one kind of answer a file."""

from plait.heads.base import Head
from plait.heads.classify import Classify, MultiLabel
from plait.heads.registry import HEADS, build_head
from plait.heads.regress import Regress

__all__ = ["HEADS", "Classify", "Head", "MultiLabel", "Regress", "build_head"]
