"""Contracts that every part keeps, as checks for parts of your own; torch and numpy are all they need.

    from plait.testing import check_fusion

    check_fusion(MyFusion)

Each raises AssertionError that names the rule and what broke it. Plait's own parts pass the same checks.
"""

from plait.data.modalities.contract import check_modality
from plait.data.targets.contract import check_target
from plait.model.encoders.contract import check_encoder
from plait.model.fusion.contract import check_fusion

__all__ = ["check_encoder", "check_fusion", "check_modality", "check_target"]
