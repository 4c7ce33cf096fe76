"""Tiny random checkpoints of images and texts: model, configuration and processor, as users have them."""

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from plait.model.pretrained.configure import silence

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
SEEN = {**TINY, "image_size": 32, "patch_size": 8}
READ = {**TINY, "vocab_size": 400, "max_position_embeddings": 24}
MARKED = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
DINO = {**{key: value for key, value in SEEN.items() if key != "intermediate_size"}, "mlp_ratio": 2}
SQUARE = {"height": 32, "width": 32}
CUT = {"size": {"shortest_edge": 36}, "crop_size": SQUARE}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 400}
PAIR = {"vision_config": SEEN, "text_config": {**READ, **MARKED}}

# model_type: configuration class, its options, processor class, its options
IMAGES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": ("ViTConfig", SEEN, "ViTImageProcessor", {"size": SQUARE}),
    "deit": ("DeiTConfig", SEEN, "DeiTImageProcessor", {"size": {"height": 36, "width": 36}, "crop_size": SQUARE}),
    "dinov2": ("Dinov2Config", DINO, "BitImageProcessor", CUT),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", DINO, "BitImageProcessor", CUT),
    "dinov3_vit": ("DINOv3ViTConfig", SEEN, "ViTImageProcessor", {"size": SQUARE}),
    "siglip": ("SiglipConfig", PAIR, "SiglipImageProcessor", {"size": SQUARE}),
    "siglip_vision_model": ("SiglipVisionConfig", SEEN, "SiglipImageProcessor", {"size": SQUARE}),
    "clip": ("CLIPConfig", PAIR, "CLIPImageProcessor", CUT),
    "clip_vision_model": ("CLIPVisionConfig", SEEN, "CLIPImageProcessor", CUT),
    "resnet": (
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "basic"},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.875},
    ),
    "convnext": (
        "ConvNextConfig",
        {"num_stages": 2, "hidden_sizes": [16, 32], "depths": [1, 1], "image_size": 32},
        "ConvNextImageProcessor",
        {"size": {"shortest_edge": 32}, "crop_pct": 0.9},
    ),
    "swin": (
        "SwinConfig",
        {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "image_size": 32, "window_size": 4, "patch_size": 4},
        "ViTImageProcessor",
        {"size": SQUARE},
    ),
}  # fmt: skip

TEXTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "bert": ("BertConfig", READ, "bert"),
    "distilbert": (
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 400, "max_position_embeddings": 24},
        "bert",
    ),
    "modernbert": ("ModernBertConfig", {**READ, **MARKED, "cls_token_id": 1, "sep_token_id": 2}, "plain"),
    "roberta": ("RobertaConfig", {**READ, "pad_token_id": 1}, "roberta"),
    "xlm-roberta": ("XLMRobertaConfig", {**READ, "pad_token_id": 1}, "xlmr"),
    "mpnet": ("MPNetConfig", {**READ, "pad_token_id": 1}, "mpnet"),
    "deberta-v2": (
        "DebertaV2Config",
        {**READ, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm",
         "share_att_key": True, "position_buckets": 8, "position_biased_input": False, "type_vocab_size": 0},
        "deberta",
    ),
    "albert": ("AlbertConfig", {**READ, "embedding_size": 16}, "plain"),
    "t5": ("T5Config", T5, "t5"),
    "umt5": ("UMT5Config", T5, "t5"),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400, "n_positions": 24,
                            "bos_token_id": 1, "eos_token_id": 2}, "plain"),
    "clip": ("CLIPConfig", PAIR, "clip"),
    "clip_text_model": ("CLIPTextConfig", {**READ, **MARKED}, "clip"),
    "siglip": ("SiglipConfig", PAIR, "siglip"),
    "siglip_text_model": ("SiglipTextConfig", {**READ, **MARKED}, "siglip"),
    "siglip2": ("Siglip2Config", {**PAIR, "vision_config": {**TINY, "patch_size": 8}}, "siglip2"),
}  # fmt: skip

CORPUS = [
    "A red bird sings in the old tree.", "Two birds, one Stone; three FISH!", "Crème brûlée à la carte",
    "a photo of a cat on a mat", "the quick brown fox jumps over the lazy dog", "猫在睡觉",
    "numbers 1234 and 5.67, e-mail a@b.c", "Ünïcode straße İstanbul", "unbelievably reddish birdsong",
] * 4  # fmt: skip
ODD = ["Tabs\tand\nlines  twice", "🐦 flies", "...", "MiXeD Case WORDS", "x" * 150, "one two " * 40]


def model_of(config: Any, cls: str | None = None) -> Any:
    """A random model in eval mode, always the same."""
    torch.manual_seed(0)
    with silence():
        make = getattr(transformers, cls) if cls else transformers.AutoModel.from_config
        model = make(config)
    for name, weight in model.named_parameters():
        if weight.ndim == 1 or "embed" in name:
            torch.nn.init.normal_(weight, 0.3, 0.2)  # no bias or norm that does nothing
    return model.eval()


def config_for(name: str, options: dict[str, Any]) -> Any:
    with silence():
        return getattr(transformers, name)(**options)


def save_image(folder: Path, kind: str, **settings: Any) -> Path:
    """A checkpoint of an image model; ``settings`` change its processor's."""
    name, options, processor, given = IMAGES[kind]
    with silence():
        model_of(config_for(name, options)).save_pretrained(folder)
        made = getattr(transformers, processor + "Pil")(**{**given, **settings})
        made.save_pretrained(folder)
    return folder


def save_text(folder: Path, kind: str) -> Path:
    """A checkpoint of a text model with a tokenizer trained on `CORPUS`."""
    name, options, tokenizer = TEXTS[kind]
    alone = {"siglip_text_model": "SiglipTextModel"}
    with silence():
        model_of(config_for(name, options), alone.get(kind)).save_pretrained(folder)
        TOKENIZERS[tokenizer]().save_pretrained(folder)
    return folder


def change(folder: Path, name: str, **values: Any) -> None:
    """Set entries of a JSON file; None takes one away."""
    path = folder / name
    told = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in told.items() if value is not None}))


def word_pieces(marks: list[str]) -> dict[str, int]:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]" if "[UNK]" in marks else "<unk>"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=marks, show_progress=False)
    )
    return made.get_vocab()


def byte_pairs(
    marks: list[str], suffix: str | None = None
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    ending = {"end_of_word_suffix": suffix} if suffix else {}
    made = Tokenizer(models.BPE(**ending))
    if suffix:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=390 if not suffix else 396,
        special_tokens=marks,
        initial_alphabet=alphabet,
        show_progress=False,
        **ending,
    )
    made.train_from_iterator(CORPUS, trainer)
    told = json.loads(made.to_str())["model"]
    return told["vocab"], [tuple(pair) for pair in told["merges"]]


def pieces(marks: list[str]) -> list[tuple[str, float]]:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=marks, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    return [(word, score) for word, score in json.loads(made.to_str())["model"]["vocab"]]


def gemma_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=200,
            special_tokens=["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"],
            show_progress=False,
        ),
    )
    told = json.loads(made.to_str())["model"]
    return told["vocab"], [tuple(pair) for pair in told["merges"]]


BERT_MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA_MARKS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def _plain() -> Any:
    vocab, merges = byte_pairs(["<pad>", "<s>", "</s>"])
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=8192
    )  # fmt: skip


def _roberta() -> Any:
    vocab, merges = byte_pairs(ROBERTA_MARKS)
    return transformers.RobertaTokenizer(vocab=vocab, merges=merges, model_max_length=512)


def _clip() -> Any:
    marks = ["<pad>", "<|startoftext|>", "<|endoftext|>"]
    vocab, merges = byte_pairs(marks, "</w>")
    return transformers.CLIPTokenizer(
        vocab=vocab, merges=merges, pad_token="<|endoftext|>", model_max_length=77
    )


def _siglip() -> Any:
    vocab, merges = gemma_pairs()
    return transformers.GemmaTokenizer(
        vocab=vocab, merges=merges, add_bos_token=False, add_eos_token=True, model_max_length=64
    )


def _siglip2() -> Any:
    vocab, merges = gemma_pairs()
    return transformers.Siglip2Tokenizer(
        vocab=vocab, merges=merges, add_bos_token=False, add_eos_token=True, model_max_length=64
    )


TOKENIZERS = {
    "bert": lambda: transformers.BertTokenizer(vocab=word_pieces(BERT_MARKS), model_max_length=512),
    "mpnet": lambda: transformers.MPNetTokenizer(vocab=word_pieces([*ROBERTA_MARKS, "[UNK]"]), model_max_length=512),
    "plain": _plain,
    "roberta": _roberta,
    "xlmr": lambda: transformers.XLMRobertaTokenizer(vocab=pieces(ROBERTA_MARKS), model_max_length=512),
    "deberta": lambda: transformers.DebertaV2Tokenizer(vocab=pieces(["[PAD]", "[CLS]", "[SEP]", "<unk>", "[UNK]", "[MASK]"]), unk_token="<unk>"),
    "t5": lambda: transformers.T5Tokenizer(vocab=pieces(["<pad>", "</s>", "<unk>"]), extra_ids=5, model_max_length=512),
    "clip": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
}  # fmt: skip
