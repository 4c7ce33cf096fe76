"""A transformers encoder as a torch module: loaded without a word, and taken apart into its layers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from plait.errors import CheckpointError
from plait.model.pretrained.configure import silence

Run = Callable[[nn.Module], Float[Tensor, "..."]]


def build(cls: Any, config: Any, folder: Path | None, run: Run) -> nn.Module:
    """A model with the weights in ``folder``, or fresh ones, in float32 and with SDPA where it has it.

    Weights that ``run`` does not use (poolers, heads, the token that marks a hidden patch) become
    constants that are neither trained nor saved.

    Args:
        cls: a class of transformers.
        config: its configuration.
        folder: the checkpoint, whose safetensors are read; None builds fresh weights.
        run: runs the model on a small batch and gives its output; tells which weights are used.

    Raises:
        CheckpointError: the weights cannot be read, or some that are used are missing or of another
            shape.
    """
    attention = "sdpa" if getattr(cls, "_supports_sdpa", False) else "eager"
    lacking: set[str] = set()
    with silence():
        with torch.random.fork_rng(devices=[]):  # weights about to be replaced draw no numbers
            if folder is None:
                model = cls._from_config(config, dtype=torch.float32, attn_implementation=attention)
            else:
                model, lacking = _load(cls, config, folder, attention)
        model.eval()
        unused = set_unused_aside(model, run)
    missing = sorted(lacking - unused)
    if missing:
        raise CheckpointError(
            f"the weights in {folder} lack {len(missing)} that the '{config.model_type}' model of its "
            f"config.json needs, for instance {missing[0]}. Both files should be of one checkpoint."
        )
    return model


def _load(cls: Any, config: Any, folder: Path, attention: str) -> tuple[nn.Module, set[str]]:
    """The model, and the names of the weights that the checkpoint lacks."""
    from safetensors import SafetensorError

    try:
        model, loading = cls.from_pretrained(
            str(folder),
            config=config,
            dtype=torch.float32,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            # The default today; a checkpoint must never run code of its own.
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        if "mismatched" in reason:
            raise CheckpointError(
                f"the weights in {folder} have other shapes than its config.json says. The two files "
                "should be of one checkpoint; fetch both again."
            ) from None
        raise CheckpointError(
            f"the weights in {folder} cannot be loaded ({reason}). plait reads model.safetensors only."
        ) from None
    mismatched = {entry[0] for entry in loading.get("mismatched_keys", ())}
    return model, set(loading["missing_keys"]) | mismatched


def set_unused_aside(model: nn.Module, run: Run) -> set[str]:
    """Turn parameters that ``run`` does not use into buffers that are not saved; returns their names.

    Cost: one forward pass of ``run``; its graph is read, and no gradient is computed.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    # The caller may be in no_grad, where there is no graph to read.
    with torch.enable_grad():
        for weight in named.values():
            weight.requires_grad_()
        used = _leaves(run(model))
    aside = {name for name, weight in named.items() if id(weight) not in used}
    for name in aside:
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        value = named[name].detach()
        delattr(module, last)
        # Kept, since a forward pass may still look it up.
        module.register_buffer(last, value, persistent=False)
    return aside


def _leaves(output: Float[Tensor, "..."]) -> set[int]:
    """The identities of the weights that a result was computed from."""
    leaves: set[int] = set()
    seen: set[Any] = set()
    ahead: list[Any] = [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        ahead += [following for following, _ in node.next_functions]
    return leaves


def layers(model: nn.Module) -> list[nn.Module]:
    """A model's parts from input to output: what comes before its layers, and each of its layers.

    The layers are the list (`nn.ModuleList` or `nn.Sequential`, not inside another one) that holds
    the most weights. What comes before it, and tables of relative positions beside it, is one part;
    a norm behind it belongs to the last layer. Each weight is in exactly one part.
    """
    before: list[nn.Module | nn.Parameter] = []
    body: list[nn.Module] = []
    behind: list[nn.Module] = []
    path = _path_to_layers(model)
    if not path:
        return [model]
    for node, chosen in path:
        before += node.parameters(recurse=False)
        relative = any(name.startswith("rel") for name, _ in node.named_children())
        passed = False
        for child in node.children():
            if child is chosen:
                passed = True
            elif passed and not relative:
                behind.append(child)
            elif _is_list(child):
                body.append(child)
            else:
                before.append(child)
    body += path[-1][1].children()
    body = [layer for layer in body if _holds(layer)]
    behind = [part for part in behind if _holds(part)]
    if behind:
        body[-1:] = [Part([*body[-1:], *behind])]
    before = [part for part in before if isinstance(part, nn.Parameter) or _holds(part)]
    return [Part(before), *body] if before else body


class Part(nn.Module):
    """Modules and weights that belong together, and do not run one after another."""

    def __init__(self, parts: Sequence[nn.Module | nn.Parameter]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))
        self.weights = nn.ParameterList(part for part in parts if isinstance(part, nn.Parameter))


def _holds(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.Sequential)


def _path_to_layers(model: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """From the model down to its layers: each module on the way, and the child that leads on."""

    def lists(node: nn.Module, way: list[tuple[nn.Module, nn.Module]]) -> Iterator[Any]:
        for child in node.children():
            step = [*way, (node, child)]
            if _is_list(child):
                yield sum(weight.numel() for weight in child.parameters()), step
            else:
                yield from lists(child, step)

    paths = list(lists(model, []))
    return max(paths, key=lambda pair: pair[0])[1] if paths else []
