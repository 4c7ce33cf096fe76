"""`plait checks`: versions, devices, threads, extras and cache of this machine and installation."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from plait.cli.app import AsJson, answerer, app, out, print_json
from plait.data import cache
from plait.devices import choose_device, cores

CORE = (
    "plait",
    "numpy",
    "pillow",
    "soundfile",
    "soxr",
    "tokenizers",
    "pydantic",
    "typer",
    "rich",
)

EXTRAS = {
    "tables": ("pyarrow", "Parquet, Arrow and frames as tables"),
    "train": ("torch", "fitting models"),
    "export": ("onnx", "exporting models"),
    "runtime": ("onnxruntime", "predicting with exported models"),
    "serve": ("fastapi", "serving exported models over HTTP"),
    "demo": ("espeakng-loader", "the demo's spoken digits"),
    "hf": ("datasets", "Hugging Face datasets as tables"),
    "pretrained": ("transformers", "pretrained encoders"),
    "video": ("av", "video"),
}
"""Extra → a package that shows whether it is installed, and what it is for."""


def gather() -> dict[str, dict[str, str]]:
    """Groups of facts, for people and for ``--json``."""
    try:
        device, why = choose_device("auto")
    except ImportError:
        device, why = "cpu", "torch is not installed"
    entries = cache.entries()
    size = sum(entry.size for entry in entries)
    return {
        "Machine": {
            "system": platform.platform(),
            "python": sys.version.split()[0],
            "device": f"{device} ({why})",
            "threads": f"{cores()} cores available to this process",
        },
        "Packages": {name: installed(name) or "missing: reinstall plait" for name in CORE},
        "Extras": {
            extra: installed(package) or f'not installed; for {use}: pip install "plait[{extra}]"'
            for extra, (package, use) in EXTRAS.items()
        },
        "Cache": {
            "folder": str(cache.cache_folder()),
            "holds": f"{len(entries)} entries, {size / 1e6:,.1f} MB",
            "cap": f"{cache.cap_bytes() / 1e9:g} GB (PLAIT_CACHE_GB)",
        },
    }


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@app.command(rich_help_panel="This machine")
def checks(
    bundle: Annotated[
        str | None, typer.Argument(help="Model to check: its golden rows are predicted again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show versions, devices, threads, extras and cache; check a saved model.

    Example: [bold]plait checks[/bold]
    """
    from plait.cli.checks import gather
    from plait.cli.tables import show_facts

    facts = gather()
    if bundle is not None:
        model = answerer(bundle)
        facts["Model"] = {
            "folder": bundle,
            "golden rows": f"{len(model.golden)}, answers agree to {model.verify():.1e}",
        }
    print_json(facts) if as_json else show_facts(out, facts)
