"""`plait encoders`: which encoders there are, built in, by pip, and in the cache."""

from plait.cli.app import AsJson, app, print_json, say
from plait.cli.app import out as console


@app.command()
def encoders(as_json: AsJson = False) -> None:
    """List the encoders: plait's own, those whose weights came by pip, and those in the local cache.

    Name one with --encoder image=NAME, or --encoder photo=NAME for one column.
    A checkpoint of the Hugging Face hub is hf:owner/name or
    hf:owner/name@revision; one on disk is the path of its folder.

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
        "Pretrained, weights by pip",
        {
            one["encoder"]: [one["about"], f"{one['modality']}; {one['licence']}; {one['here']}"]
            for one in by_pip
        },
    )
    if not in_cache:
        say(console, "\nHugging Face's cache holds no model.")
        return
    show_entries(
        console,
        "Pretrained, in Hugging Face's cache",
        {
            one["encoder"]: [
                f"{one['model']}; {one['size']}; licence {one['licence']}; {one['here']}"
            ]
            for one in in_cache
        },
    )
