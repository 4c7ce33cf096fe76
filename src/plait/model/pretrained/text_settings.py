"""A checkpoint's tokenizer, read into a state that plait's text modality executes with `tokenizers`."""

import json
from pathlib import Path
from typing import Any

from plait.data.modalities.base import State
from plait.errors import CheckpointError
from plait.model.pretrained.configure import PAIRED, config_of, silence
from plait.model.pretrained.contents import read_json_if_there

MAX_TOKENS = 512
"""Ids kept of a text at most, whatever the model could take (ModernBERT: 8192): cost grows with them."""

_OFFSET = frozenset(
    {
        *("roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"),
        *("roberta-prelayernorm", "data2vec-text", "ibert", "longformer", "xmod"),
    }
)
"""Kinds that count positions from the padding id up, so that the first places stay empty."""

_RELATIVE = frozenset(("t5", "mt5", "umt5"))
"""Kinds without a longest text: their positions are relative."""

_FILES = (
    *("vocab.txt", "vocab.json", "spiece.model", "spm.model", "sentencepiece.bpe.model"),
    *("tokenizer.model", "bpe.codes"),
)


def text_state(folder: Path) -> State:
    """The state with which `TextModality` prepares a column as a checkpoint wants its texts.

    Read from ``tokenizer.json`` and ``tokenizer_config.json`` (and the length that
    ``sentence_bert_config.json`` states); where there are older files only,
    transformers converts them, once. It agrees with the checkpoint's own tokenizer, cutting included,
    but for marks such as ``[SEP]`` that stand in a cell: they are text, not marks.

    Raises:
        CheckpointError: there is no tokenizer, or none that can be turned into `tokenizers`' format.
    """
    described = read_json_if_there(folder / "config.json")
    if described is None:
        raise CheckpointError(f"{folder} has no config.json, so it is not a checkpoint")
    config = config_of(described)
    if config.model_type in PAIRED:
        config = config.text_config
    settings = read_json_if_there(folder / "tokenizer_config.json") or {}
    tokenizer = read_json_if_there(folder / "tokenizer.json")
    tokenizer = _converted(folder) if tokenizer is None else _settled(tokenizer, settings)
    sentence = read_json_if_there(folder / "sentence_bert_config.json") or {}
    most = _longest(config, settings.get("model_max_length"), sentence.get("max_seq_length"))
    tokenizer["padding"] = None
    tokenizer["truncation"] = {
        "direction": "Left" if settings.get("truncation_side") == "left" else "Right",
        "max_length": most,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    return {
        "tokenizer": tokenizer,
        "vocabulary": _vocabulary(tokenizer, folder),
        "max_tokens": most,
        "longer": 0.0,
        "special": True,
        "padding": _padding(tokenizer, settings, config, folder),
    }


def highest_id(tokenizer: dict[str, Any]) -> int:
    """The highest id that a text can become; marks do not count."""
    vocabulary = tokenizer["model"].get("vocab", {})
    ids = vocabulary.values() if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
    added = (token["id"] for token in tokenizer.get("added_tokens", ()) if not token.get("special"))
    return max((*ids, *added), default=0)


def _vocabulary(tokenizer: dict[str, Any], folder: Path) -> int:
    from tokenizers import Tokenizer

    try:
        read = Tokenizer.from_str(json.dumps(tokenizer))
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} holds no tokenizer that can be read: {error}"
        ) from None
    return int(read.get_vocab_size())


def _converted(folder: Path) -> dict[str, Any]:
    """What transformers makes of a tokenizer's older files."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _FILES):
        raise CheckpointError(
            f"{folder} has no tokenizer: neither a tokenizer.json nor the files of an older one "
            f"({', '.join(_FILES)}). Copy tokenizer.json from where the checkpoint comes from."
        )
    with silence():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True
            )
        except (ImportError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"the tokenizer in {folder} has no tokenizer.json, and its older files cannot be "
                f"converted: {reason}"
            ) from None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(
            f"the tokenizer in {folder} has no tokenizer.json, and transformers knows no fast form of "
            f"its {type(tokenizer).__name__}, so plait cannot run it."
        )
    return json.loads(backend.to_str())


def _settled(tokenizer: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """tokenizer.json, with what tokenizer_config.json says otherwise; there it has the last word."""
    settled = dict(tokenizer)
    name = str(settings.get("tokenizer_class", "")).removesuffix("Fast")
    normalizer = settled.get("normalizer") or {}
    if normalizer.get("type") == "BertNormalizer":
        keys = {"lowercase": "do_lower_case", "strip_accents": "strip_accents"}
        keys["handle_chinese_chars"] = "tokenize_chinese_chars"
        said = {key: settings[word] for key, word in keys.items() if settings.get(word) is not None}
        settled["normalizer"] = {**normalizer, **said}
    elif name == "Siglip2Tokenizer" and '"Lowercase"' not in json.dumps(normalizer):
        parts = [{"type": "Lowercase"}, *([normalizer] if normalizer else [])]
        settled["normalizer"] = {"type": "Sequence", "normalizers": parts}
    splitter = settled.get("pre_tokenizer") or {}
    if splitter.get("type") == "ByteLevel" and settings.get("add_prefix_space") is not None:
        settled["pre_tokenizer"] = {
            **splitter,
            "add_prefix_space": bool(settings["add_prefix_space"]),
        }
    return settled


def _longest(config: Any, *stated: object) -> int:
    """The smallest of what the model takes, what its files state, and `MAX_TOKENS`."""
    limits = [MAX_TOKENS]
    limits += [
        int(min(limit, MAX_TOKENS))
        for limit in stated
        if isinstance(limit, int | float) and limit > 0
    ]
    places = getattr(config, "max_position_embeddings", None)
    if isinstance(places, int) and places > 0 and config.model_type not in _RELATIVE:
        offset = int(config.pad_token_id or 0) + 1 if config.model_type in _OFFSET else 0
        limits.append(places - offset)
    return min(limits)


def _padding(tokenizer: dict[str, Any], settings: dict[str, Any], config: Any, folder: Path) -> int:
    """The id to pad with: the tokenizer's word for it, else the configuration's, else 0."""
    named = settings.get("pad_token") or (
        read_json_if_there(folder / "special_tokens_map.json") or {}
    ).get("pad_token")
    word = _word(named)
    number = None if word is None else _id_of(tokenizer, word)
    if number is None:
        number = getattr(config, "pad_token_id", None)
    return int(number or 0)


def _word(named: Any) -> str | None:
    """A mark, which a file may give as a word or as an object with ``content``."""
    return named.get("content") if isinstance(named, dict) else named


def _id_of(tokenizer: dict[str, Any], word: str) -> int | None:
    for added in tokenizer.get("added_tokens", ()):
        if added["content"] == word:
            return int(added["id"])
    vocabulary = tokenizer["model"].get("vocab", {})
    if isinstance(vocabulary, dict):
        return vocabulary.get(word)
    return next((at for at, (known, _) in enumerate(vocabulary) if known == word), None)
