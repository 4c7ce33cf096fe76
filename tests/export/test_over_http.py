"""A server of an exported model against the fitted one."""

import copy

import pytest
import torch

from plait.errors import ConfigError, ExportError
from plait.export import over_http
from plait.export.over_http import check_http
from plait.serve import server as listen


def test_both_answer_alike(plain_run, plain_app):
    assert 0 <= check_http(plain_run[0], plain_app[1]) < 1e-5
    assert 0 <= plain_app[0].http < 1e-5


def test_every_modality_travels_as_json(fitted, full_app):
    assert 0 <= check_http(fitted[0], full_app[1]) < 1e-4


def test_another_model_is_told_from_it(plain_run, plain_app):
    other = copy.copy(plain_run[0])
    other.model = copy.deepcopy(other.model)
    with torch.no_grad():
        for weight in other.model.parameters():
            weight *= 1.3
    with pytest.raises(
        ExportError,
        match=r"the exported model, served over HTTP, differs[\s\S]*of golden row \d[\s\S]*Nothing was",
    ):
        check_http(other, plain_app[1])


def test_without_a_server_it_is_not_checked(plain_run, plain_app, monkeypatch):
    def taken(options):
        raise ConfigError(["port=0: none is free."])

    monkeypatch.setattr(listen, "bind", taken)
    assert check_http(plain_run[0], plain_app[1]) is None
    monkeypatch.setattr(over_http, "find_spec", lambda name: None)
    assert check_http(plain_run[0], plain_app[1]) is None
