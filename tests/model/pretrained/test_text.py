"""Texts cut up as the checkpoint's own tokenizer does, and encoded as its own model does."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from checkpoints_image_text import CORPUS, ODD, TEXTS, change, save_text
from tokenizers import Tokenizer

from plait.data.media import Limits
from plait.data.modalities.base import Prepared, Settings, State
from plait.data.modalities.text import TextModality
from plait.errors import CheckpointError
from plait.model.pretrained import text_settings
from plait.model.pretrained.configure import silence
from plait.model.pretrained.text import make
from plait.model.pretrained.text_settings import highest_id, text_state
from plait.model.tokens import ColumnBatch

Checkpoint = Callable[[str, str], Path]
CELLS = CORPUS[:9] + ODD


def ids_of(prepared: Prepared) -> list[list[int]]:
    assert prepared.lengths is not None
    ends = np.cumsum(prepared.lengths)[:-1]
    return [row.tolist() for row in np.split(prepared.values, ends)]


def own(folder: Path) -> Any:
    with silence():
        return transformers.AutoTokenizer.from_pretrained(folder)


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def batch_of(rows: list[list[int]], padding: int = 0) -> ColumnBatch:
    steps = max(map(len, rows))
    values = torch.tensor([row + [padding] * (steps - len(row)) for row in rows], dtype=torch.int32)
    mask = torch.tensor([[True] * len(row) + [False] * (steps - len(row)) for row in rows])
    return ColumnBatch(values, mask)


@pytest.mark.parametrize("kind", TEXTS)
def test_cuts_up_as_its_own_tokenizer(
    checkpoint: Checkpoint, kind: str, settings: Settings
) -> None:
    folder = checkpoint("text", kind)
    state, tokenizer = text_state(folder), own(folder)
    mine = ids_of(TextModality().prepare(CELLS, state, settings))
    theirs = tokenizer(CELLS, truncation=True, max_length=state["max_tokens"])["input_ids"]
    assert mine == theirs
    assert state["padding"] == tokenizer.pad_token_id
    assert state["vocabulary"] == len(tokenizer)
    longest = {"t5": 512, "umt5": 512, "roberta": 22, "xlm-roberta": 22, "mpnet": 22}
    assert state["max_tokens"] == longest.get(kind, 24)
    ends = {row[-1] for row in mine}
    assert len(ends) == 1, "texts that are cut end as those that are not"


@pytest.mark.parametrize("kind", TEXTS)
def test_encodes_as_its_own_model(checkpoint: Checkpoint, kind: str, settings: Settings) -> None:
    folder = checkpoint("text", kind)
    name = {
        "siglip": "SiglipTextModel",
        "siglip_text_model": "SiglipTextModel",
        "siglip2": "Siglip2TextModel",
        "clip": "CLIPTextModel",
        "t5": "T5EncoderModel",
        "umt5": "UMT5EncoderModel",
    }.get(kind, "AutoModel")
    with silence():
        model = getattr(transformers, name).from_pretrained(folder).eval()
    state, tokenizer = text_state(folder), own(folder)
    rows = ids_of(TextModality().prepare(CELLS, state, settings))
    backbone = make(read(folder), state, folder).eval()
    with torch.no_grad():
        tokens = backbone(batch_of(rows))
        for number, cell in enumerate(CELLS):
            asked: dict[str, Any] = {"truncation": True, "max_length": state["max_tokens"]}
            if kind.startswith("siglip"):
                asked |= {"padding": "max_length", "padding_side": "right"}
            made = tokenizer(cell, return_tensors="pt", **asked)
            only_ids = kind.startswith("siglip")
            expected = model(
                **({"input_ids": made["input_ids"]} if only_ids else made)
            ).last_hidden_state[0]
            if only_ids and len(rows[number]) < len(expected):
                expected = torch.cat([expected[: len(rows[number])], expected[-1:]])
            mine = tokens.values[number][tokens.mask[number]]
            torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-4)


def test_siglip_keeps_the_place_that_it_reads_the_text_off(
    checkpoint: Checkpoint, settings: Settings
) -> None:
    folder = checkpoint("text", "siglip")
    state = text_state(folder)
    with silence():
        whole = transformers.SiglipModel.from_pretrained(folder).eval()
    backbone = make(read(folder), state, folder).eval()
    tokens = backbone(
        batch_of(ids_of(TextModality().prepare([CELLS[0], CELLS[-1]], state, settings)))
    )
    assert tokens.mask.sum(dim=1).tolist() == [9, 24]  # 8 ids and the last place; 24 ids, cut
    made = own(folder)(
        CELLS[0], padding="max_length", padding_side="right", max_length=24, return_tensors="pt"
    )
    said = whole.get_text_features(input_ids=made["input_ids"])
    pooled = whole.text_model.head(tokens.values[0, 8])
    torch.testing.assert_close(pooled, said.pooler_output[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["roberta", "mpnet", "clip"])
def test_padding_need_not_be_zero(checkpoint: Checkpoint, kind: str) -> None:
    folder = checkpoint("text", kind)
    state = text_state(folder)
    assert state["padding"] != 0
    backbone = make(read(folder), state, folder).eval()
    rows = [[0, 9, 8, 7, 2], [0, 5, 2]]
    one, other = backbone(batch_of(rows, 0)), backbone(batch_of(rows, 77))
    assert torch.equal(one.values, other.values)


def test_no_steps_at_all(checkpoint: Checkpoint) -> None:
    folder = checkpoint("text", "bert")
    backbone = make(read(folder), text_state(folder), folder).eval()
    tokens = backbone(
        ColumnBatch(torch.zeros(2, 0, dtype=torch.int32), torch.zeros(2, 0, dtype=torch.bool))
    )
    assert (
        tokens.values.shape == (2, 1, 32)
        and not tokens.mask.any()
        and tokens.values.isfinite().all()
    )


def test_marks_in_a_cell_are_text(checkpoint: Checkpoint, settings: Settings) -> None:
    folder = checkpoint("text", "bert")
    state = text_state(folder)
    (row,) = ids_of(TextModality().prepare(["a [SEP] b"], state, settings))
    assert row.count(3) == 1 and row[-1] == 3
    assert [row] == own(folder)(["a [SEP] b"], split_special_tokens=True)["input_ids"]


def test_longer_is_measured(checkpoint: Checkpoint, settings: Settings) -> None:
    state = text_state(checkpoint("text", "bert"))
    assert state["longer"] == 0.0
    cells: list[object] = ["a cat"] * 97 + ["one two " * 40] * 3 + [None, "\ud800"]
    measured = TextModality().adapt(state, cells, settings)
    assert measured == state | {"longer": 0.03} and state["longer"] == 0.0
    assert TextModality().describe(measured) == (
        "190 subwords, at most 24 per text (3.0% of training texts are longer, and cut)"
    )
    assert TextModality().describe(state) == "190 subwords, at most 24 per text"
    assert TextModality().adapt(state, [], settings)["longer"] == 0.0
    exact = " ".join(["cat"] * 40)
    for words in range(1, 40):
        ids = own(checkpoint("text", "bert"))(" ".join(["a"] * words))["input_ids"]
        if len(ids) == 24:
            exact = " ".join(["a"] * words)
    assert TextModality().adapt(state, [exact], settings)["longer"] == 0.0
    assert TextModality().adapt(state, [exact + " a"], settings)["longer"] == 1.0


def test_threads_and_batches_change_nothing(checkpoint: Checkpoint, settings: Settings) -> None:
    state = text_state(checkpoint("text", "roberta"))
    cells = CELLS * 80
    alone = TextModality().prepare(cells, state, settings)
    crowd = TextModality().prepare(cells, state, replace(settings, threads=4))
    np.testing.assert_array_equal(alone.values, crowd.values)
    assert ids_of(alone)[: len(CELLS)] == ids_of(TextModality().prepare(CELLS, state, settings))


def test_long_and_broken_cells(checkpoint: Checkpoint, settings: Settings) -> None:
    state = text_state(checkpoint("text", "bert"))
    media = replace(settings.media, limits=Limits(text_bytes=200_000))
    cells = ["cat " * 40_000, "cat " * 60_000, None, b"\xff\xfe", "  ", "cat"]
    found = TextModality().prepare(cells, state, replace(settings, media=media))
    assert found.present.tolist() == [True, False, False, False, False, True]
    assert [problem.row for problem in found.problems] == [1, 3]
    assert len(ids_of(found)[0]) == 24


def test_cut_at_the_left(tmp_path: Path, settings: Settings) -> None:
    folder = save_text(tmp_path, "bert")
    change(folder, "tokenizer_config.json", truncation_side="left")
    state = text_state(folder)
    cell = "one two " * 30_000 + "red bird"
    (row,) = ids_of(TextModality().prepare([cell], state, settings))
    assert row == own(folder)(cell, truncation=True, max_length=24)["input_ids"]
    assert row[-3:] == ids_of(TextModality().prepare(["red bird"], state, settings))[0][-3:]
    assert TextModality().adapt(state, [cell], settings)["longer"] == 1.0


@pytest.mark.parametrize("flag", ["do_lower_case", "tokenize_chinese_chars", "strip_accents"])
def test_bert_flags_have_the_last_word(tmp_path: Path, settings: Settings, flag: str) -> None:
    folder = save_text(tmp_path, "bert")
    key = {"do_lower_case": "lowercase", "tokenize_chinese_chars": "handle_chinese_chars"}.get(
        flag, flag
    )
    assert text_state(folder)["tokenizer"]["normalizer"][key] in (True, None)
    change(folder, "tokenizer_config.json", **{flag: False})
    state = text_state(folder)
    assert state["tokenizer"]["normalizer"][key] is False
    assert (
        ids_of(TextModality().prepare(CELLS, state, settings))
        == own(folder)(CELLS, truncation=True, max_length=24)["input_ids"]
    )


def test_siglip2_lowers_what_its_file_does_not(tmp_path: Path, settings: Settings) -> None:
    folder = save_text(tmp_path, "siglip2")
    told = json.loads((folder / "tokenizer.json").read_text())
    assert "Lowercase" in json.dumps(told["normalizer"])
    change(
        folder,
        "tokenizer.json",
        normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    )
    state = text_state(folder)
    assert ids_of(TextModality().prepare(["A RED Bird"], state, settings)) == ids_of(
        TextModality().prepare(["a red bird"], state, settings)
    )
    assert (
        ids_of(TextModality().prepare(CELLS, state, settings))
        == own(folder)(CELLS, truncation=True, max_length=24)["input_ids"]
    )
    change(folder, "tokenizer.json", normalizer=None)
    assert text_state(folder)["tokenizer"]["normalizer"] == {
        "type": "Sequence",
        "normalizers": [{"type": "Lowercase"}],
    }


def test_prefix_space(tmp_path: Path, settings: Settings) -> None:
    folder = save_text(tmp_path, "roberta")
    plain = ids_of(TextModality().prepare(["red"], text_state(folder), settings))
    change(folder, "tokenizer_config.json", add_prefix_space=True)
    spaced = ids_of(TextModality().prepare(["red"], text_state(folder), settings))
    assert spaced != plain and spaced == own(folder)(["red"])["input_ids"]


def test_marks_are_those_of_tokenizer_json(tmp_path: Path, settings: Settings) -> None:
    """add_bos_token and add_eos_token are for tokenizers without one; transformers drops them too."""
    folder = save_text(tmp_path, "siglip")
    change(folder, "tokenizer_config.json", add_bos_token=True, add_eos_token=False)
    (row,) = ids_of(TextModality().prepare(["a red bird"], text_state(folder), settings))
    assert row[0] != 2 and row[-1] == 1
    assert [row] == own(folder)(["a red bird"])["input_ids"]


def refuse(call: Callable[[], object]) -> str:
    with pytest.raises(CheckpointError) as caught:
        call()
    return str(caught.value)


def test_longest_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_text(tmp_path, "bert")

    def most(**told: Any) -> int:
        change(folder, "tokenizer_config.json", **told)
        return int(text_state(folder)["max_tokens"])

    assert most(model_max_length=12) == 12
    assert most(model_max_length=10**30) == 24
    assert most(model_max_length=None) == 24
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 16}')
    assert most() == 16
    (folder / "sentence_bert_config.json").unlink()
    change(folder, "config.json", max_position_embeddings=8192)
    assert most() == 512
    monkeypatch.setattr(text_settings, "MAX_TOKENS", 100)
    assert most() == 100


def test_padding_id(tmp_path: Path) -> None:
    folder = save_text(tmp_path, "bert")

    def padding(**told: Any) -> int:
        change(folder, "tokenizer_config.json", **told)
        return int(text_state(folder)["padding"])

    assert padding(pad_token={"content": "[MASK]", "__type": "AddedToken"}) == 4
    assert (
        padding(pad_token="bird")
        == json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]["bird"]
    )
    assert padding(pad_token="nowhere") == 0
    change(folder, "config.json", pad_token_id=3)
    assert padding(pad_token=None) == 3
    (folder / "special_tokens_map.json").write_text('{"pad_token": "[UNK]"}')
    assert padding() == 1
    pieces = {"model": {"vocab": [["<pad>", 0.0], ["a", -1.0]]}}
    assert text_settings._id_of(pieces, "a") == 1 and text_settings._id_of(pieces, "b") is None


def test_an_older_tokenizer_is_converted(
    tmp_path: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save_text(tmp_path, "bert")
    expected = text_state(folder)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    capfd.readouterr()
    state = text_state(folder)
    assert capfd.readouterr() == ("", "")
    one, other = (
        ids_of(TextModality().prepare(CELLS, each, settings)) for each in (state, expected)
    )
    assert one == other and state["padding"] == expected["padding"]


def test_no_tokenizer(tmp_path: Path) -> None:
    assert (
        refuse(lambda: text_state(tmp_path))
        == f"{tmp_path} has no config.json, so it is not a checkpoint"
    )
    folder = save_text(tmp_path, "bert")
    (folder / "tokenizer.json").unlink()
    assert refuse(lambda: text_state(folder)) == (
        f"{folder} has no tokenizer: neither a tokenizer.json nor the files of an older one (vocab.txt, "
        "vocab.json, spiece.model, spm.model, sentencepiece.bpe.model, tokenizer.model, bpe.codes). "
        "Copy tokenizer.json from where the checkpoint comes from."
    )


def test_tokenizers_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_text(tmp_path, "bert")
    change(folder, "tokenizer.json", model={"type": "Riddle"})
    told = refuse(lambda: text_state(folder))
    assert told.startswith(f"{folder / 'tokenizer.json'} holds no tokenizer that can be read: ")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")

    def broken(*_: object, **__: object) -> object:
        raise ValueError("cannot\nbe converted")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", broken)
    assert refuse(lambda: text_state(folder)) == (
        f"the tokenizer in {folder} has no tokenizer.json, and its older files cannot be converted: "
        "cannot be converted"
    )
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: object())
    assert refuse(lambda: text_state(folder)) == (
        f"the tokenizer in {folder} has no tokenizer.json, and transformers knows no fast form of its "
        "object, so plait cannot run it."
    )


def test_code_in_a_tokenizer_is_not_run(tmp_path: Path) -> None:
    folder = save_text(tmp_path, "bert")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    marker = tmp_path / "ran"
    (folder / "mine.py").write_text(f"open({str(marker)!r}, 'w')\nclass Mine: pass\n")
    change(
        folder,
        "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["mine.Mine", None]},
        tokenizer_class="Mine",
    )
    try:
        text_state(folder)
    except CheckpointError as error:
        assert "cannot be converted" in str(error)
    assert not marker.exists()


STATE: State = {"tokenizer": {"model": {"vocab": {"a": 5}}}, "padding": 0, "max_tokens": 8}


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"model_type": "bert", "vocab_size": 5}, "the checkpoint's tokenizer gives ids up to 5, and its 'bert' model knows 5. Both files should be of one checkpoint."),
        ({"model_type": "vit"}, "is a 'vit' model, which takes image (pixel_values); the column is text, so a model that takes text alone (input_ids) was expected."),
        ({"model_type": "wav2vec2"}, "is a 'wav2vec2' model, which takes audio (input_values); the column is text"),
        ({"model_type": "bart"}, "is a 'bart' model, an encoder with a decoder; plait runs such an encoder alone for t5, mt5, umt5 only."),
        ({"model_type": "nomic", "auto_map": {}}, "brings code of its own"),
        ({"model_type": "funnel"}, "is a 'funnel' model, of which transformers makes no plain encoder; an encoder of text was expected."),
        ({"model_type": "vilt"}, "is a 'vilt' model, which takes"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_made(described: dict[str, Any], words: str) -> None:
    assert words in refuse(lambda: make(described, STATE, None))


def test_highest_id() -> None:
    added = [{"id": 90, "special": True}, {"id": 9, "special": False}]
    assert highest_id({"model": {"vocab": {"a": 3, "b": 1}}, "added_tokens": added}) == 9
    assert highest_id({"model": {"vocab": [["a", 0.0], ["b", 0.0]]}}) == 1
    assert highest_id({"model": {"vocab": {}}}) == 0


def test_a_state_needs_nothing_but_tokenizers(checkpoint: Checkpoint) -> None:
    state = text_state(checkpoint("text", "roberta"))
    tokenizer = Tokenizer.from_str(json.dumps(state["tokenizer"]))
    assert len(tokenizer.encode("one two " * 40).ids) == state["max_tokens"]
    assert tokenizer.padding is None
