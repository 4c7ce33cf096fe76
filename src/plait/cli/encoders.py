"""`plait encoders`: the encoders that are built in, installed by pip, or in the local cache."""

from plait.cli.app import AsJson, app, print_json, say
from plait.cli.app import out as console


@app.command(rich_help_panel="Look")
def encoders(as_json: AsJson = False) -> None:
    """List the encoders: plait's own, those with weights from pip, and those in the local cache.

    Choose one for a modality with --encoder image=NAME, or for one column
    with --encoder photo=NAME. A checkpoint of the Hugging Face hub is
    hf:owner/name or hf:owner/name@revision; one on disk is its folder's path.

    Example: [bold]plait encoders[/bold]
    """
    from plait.cli.tables import grid, show_entries
    from plait.model.encoders.registry import ENCODERS
    from plait.model.pretrained.listing import cached, packaged

    own = {modality: list(names) for modality, names in ENCODERS.items()}
    by_pip, in_cache = packaged(), cached()
    if as_json:
        print_json({"own": own, "packaged": by_pip, "cached": in_cache})
        return
    console.print("[bold]plait's own, trained from scratch[/bold] (the first is the default)")
    console.print(grid(["", ""], [[name, ", ".join(names)] for name, names in own.items()], left=2))
    show_entries(
        console,
        "Pretrained, weights from pip",
        {
            model["encoder"]: [
                model["about"],
                f"{model['modality']}; {model['licence']}; {model['here']}",
            ]
            for model in by_pip
        },
    )
    if not in_cache:
        say(console, "\nThe Hugging Face cache holds no model.")
        return
    show_entries(
        console,
        "Pretrained, in the Hugging Face cache",
        {
            model["encoder"]: [
                f"{model['model']}; {model['size']}; licence {model['licence']}; {model['here']}"
            ]
            for model in in_cache
        },
    )
