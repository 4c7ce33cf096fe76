"""`plait encoders`: which encoders there are, built in, by pip, and in the cache."""

from plait.commands import AsJson, _print_json, app
from plait.commands import out as console


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List the encoders: plait's own, those whose weights came by pip, and those in the local cache.

    Name one with --encoder image=NAME, or --encoder photo=NAME for one column. Any checkpoint of the
    Hugging Face hub is hf:owner/name or hf:owner/name@revision, any folder of one its path.

    Example: [bold]plait encoders[/bold]
    """
    from plait.encoders.registry import ENCODERS
    from plait.pretrained.listing import cached, packaged
    from plait.show import show_rows

    own = {modality: list(names) for modality, names in ENCODERS.items()}
    by_pip, by_hub = packaged(), cached()
    if as_json:
        _print_json({"own": own, "packaged": by_pip, "cached": by_hub})
        return
    rows = [
        {"modality": modality, "encoders (the first is the default)": ", ".join(names)}
        for modality, names in own.items()
    ]
    show_rows(console, "plait's own, trained from scratch", rows)
    show_rows(console, "Pretrained, weights by pip", by_pip)
    if by_hub:
        show_rows(console, "Pretrained, in Hugging Face's cache", by_hub)
    else:
        console.print("Hugging Face's cache holds no model.")
