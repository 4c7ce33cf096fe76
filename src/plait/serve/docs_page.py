"""The OpenAPI document as one page: no script, no request to anywhere."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border: 1px solid var(--line); border-radius: .5rem; padding: 0 1rem; margin: 1rem 0; }
h2 { font-size: 1rem; } h2 code { font-size: 1.1rem; } h3 { font-size: .9rem; margin-bottom: 0; }
pre { background: var(--soft); padding: .7rem; border-radius: .3rem; overflow: auto; max-height: 20rem; }
td { padding: .1rem .8rem .1rem 0; vertical-align: top; } b { text-transform: uppercase; }
"""
_MAX_EXAMPLE_CHARACTERS = 2000  # shown; a picture in base64 has many thousand


def page(document: Mapping[str, Any]) -> str:
    """The page, in HTML."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>plait {escape(info['version'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>plait {escape(info['version'])}</h1><p>{escape(info['description'])}</p>",
        '<p>Machine-readable: <a href="openapi.json">openapi.json</a>.</p>',
    ]
    if "security" in document:
        parts.append(
            "<p>Every request must send the token: <code>Authorization: Bearer TOKEN</code>.</p>"
        )
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            if method != "parameters":
                parts.append(_section(path, method, about))
    return "".join([*parts, "</body></html>"])


def _section(path: str, method: str, about: Mapping[str, Any]) -> str:
    parts = [
        f"<section><h2><b>{escape(method)}</b> <code>{escape(path)}</code></h2>",
        f"<p>{escape(about['summary'])}</p>",
    ]
    for kind, content in about.get("requestBody", {}).get("content", {}).items():
        if "example" not in content:
            continue
        example = content["example"]
        text = example if isinstance(example, str) else json.dumps(example, ensure_ascii=False)
        cut = (
            text
            if len(text) <= _MAX_EXAMPLE_CHARACTERS
            else f"{text[:_MAX_EXAMPLE_CHARACTERS]}… ({len(text)} characters)"
        )
        parts.append(f"<h3>{escape(kind)}</h3><pre>{escape(cut)}</pre>")
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td></tr>"
        for status, response in about["responses"].items()
    )
    return "".join([*parts, f"<h3>Answers</h3><table>{rows}</table></section>"])
