"""How plait's pages look: in light and dark, on a phone, on paper."""

_LIGHT = (
    "color-scheme:light;--paper:#fbfbfa;--card:#ffffff;--ink:#1c2430;--faint:#5a6675;--rule:#e2e5ea;"
    "--soft:#f1f3f6;--accent:#0b5c8a;--bad:#a8330a;--good:#0a6b4c;--for:213,94,0;--against:0,114,178;"
    "--plot-ink:#1c2430;--plot-faint:#5a6675;--plot-grid:#e6e9ee;--plot-paper:#ffffff;"
    "--plot-grey:#aab3be;--plot-fill:#0072b2;--plot-1:#0072b2;--plot-2:#c85200;--plot-3:#00875f;"
    "--plot-4:#b4558c;--plot-5:#b37400;--plot-6:#2f8fc4"
)
_DARK = (
    "color-scheme:dark;--paper:#11151a;--card:#181d24;--ink:#e8ecf1;--faint:#a0acba;--rule:#2c343e;"
    "--soft:#202730;--accent:#6cc0f0;--bad:#ff9c73;--good:#4fd0a5;--for:255,143,74;--against:86,180,233;"
    "--plot-ink:#e8ecf1;--plot-faint:#a0acba;--plot-grid:#2a323c;--plot-paper:#181d24;"
    "--plot-grey:#66727f;--plot-fill:#56b4e9;--plot-1:#56b4e9;--plot-2:#ff8f4a;--plot-3:#2ec9a0;"
    "--plot-4:#e59ac4;--plot-5:#f0b840;--plot-6:#9ad3f5"
)

STYLE = f"""
:root{{{_LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{_DARK}}}}}
:root:has(#look-light:checked){{{_LIGHT}}}
:root:has(#look-dark:checked){{{_DARK}}}
*{{box-sizing:border-box}}
html{{scroll-behavior:smooth;scroll-padding-top:1rem}}
body{{margin:0;background:var(--paper);color:var(--ink);
font:15.5px/1.6 system-ui,-apple-system,"Segoe UI",
"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;-webkit-text-size-adjust:100%}}
.skip{{position:absolute;left:-999px}}.skip:focus{{left:1rem;top:1rem;background:var(--card);
padding:.5rem 1rem;z-index:9}}
.frame{{display:grid;grid-template-columns:13.5rem minmax(0,1fr);gap:2.5rem;max-width:1280px;
margin:0 auto;
padding:2rem 1.75rem 4rem}}
header.top{{grid-column:1/-1;display:flex;gap:1rem 2rem;justify-content:space-between;
align-items:flex-start;flex-wrap:wrap}}
header.top h1{{font-size:1.75rem;line-height:1.25;margin:0;letter-spacing:-.01em;
overflow-wrap:anywhere}}
header.top p{{margin:.3rem 0 0;color:var(--faint);max-width:none}}
a{{color:var(--accent)}}
fieldset.look{{border:1px solid var(--rule);border-radius:999px;padding:.15rem;margin:.2rem 0 0;
display:flex;background:var(--card)}}
fieldset.look legend{{position:absolute;left:-999px}}
fieldset.look label{{cursor:pointer}}
fieldset.look span{{display:block;padding:.12rem .8rem;border-radius:999px;font-size:.84rem;
color:var(--faint)}}
fieldset.look input{{position:absolute;opacity:0;width:1px;height:1px}}
fieldset.look input:checked+span{{background:var(--soft);color:var(--ink);font-weight:600}}
fieldset.look input:focus-visible+span,:focus-visible{{outline:2px solid var(--accent);
outline-offset:2px}}
nav.parts{{position:sticky;top:1.25rem;align-self:start;font-size:.92rem}}
nav.parts ol{{list-style:none;margin:0;padding:0;border-left:2px solid var(--rule)}}
nav.parts a{{display:block;padding:.28rem 0 .28rem .9rem;color:var(--faint);text-decoration:none;
margin-left:-2px;
border-left:2px solid transparent}}
nav.parts a:hover,nav.parts a:focus{{color:var(--ink);border-left-color:var(--accent)}}
main{{min-width:0}}
section.part{{background:var(--card);border:1px solid var(--rule);border-radius:14px;
padding:1.4rem 1.6rem 1.6rem;
margin:0 0 1.5rem}}
h2{{font-size:1.28rem;line-height:1.3;margin:0 0 .6rem;letter-spacing:-.005em}}
h3{{font-size:1.02rem;margin:1.7rem 0 .4rem}}h4{{font-size:.93rem;margin:1rem 0 .3rem}}
p,li{{max-width:78ch;overflow-wrap:anywhere}}p{{margin:.5rem 0}}ul{{margin:.5rem 0;
padding-left:1.25rem}}li{{margin:.2rem 0}}
small,.faint,figcaption,.caption{{color:var(--faint)}}
.lead{{font-size:1.05rem}}
.tiles{{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;
margin:1rem 0}}
.tiles>div{{background:var(--soft);border-radius:10px;padding:.7rem .9rem}}
.tiles dt{{font-size:.82rem;color:var(--faint)}}.tiles dd{{margin:0}}
.tiles strong{{display:block;font-size:1.5rem;line-height:1.25;font-weight:650;
font-variant-numeric:tabular-nums;overflow-wrap:anywhere}}
.tiles small{{display:block;font-size:.8rem;line-height:1.35}}
.facts{{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.25rem 1.2rem;
font-size:.93rem;margin:.6rem 0}}
.facts dt{{color:var(--faint)}}.facts dd{{margin:0;overflow-wrap:anywhere}}
.scroll{{overflow-x:auto;margin:.35rem 0 1rem;-webkit-overflow-scrolling:touch}}
table{{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}}
p.caption{{font-size:.88rem;margin:1rem 0 0}}
th,td{{padding:.32rem .7rem;text-align:right;white-space:nowrap;
border-bottom:1px solid var(--rule);vertical-align:top}}
thead th{{color:var(--faint);font-weight:600;border-bottom:2px solid var(--rule)}}
tbody th{{font-weight:500}}.strong td,.strong th{{font-weight:700}}
th:first-child,td:first-child{{padding-left:0}}
tr.base td{{color:var(--faint)}}
.text{{text-align:left}}td.text,th.text{{white-space:normal;min-width:6rem;max-width:30rem;
overflow-wrap:anywhere}}
svg{{max-width:100%;height:auto}}figure{{margin:.9rem 0;min-width:0}}figure svg{{display:block}}
figcaption{{font-size:.86rem;max-width:72ch;margin-top:.3rem}}
.plots{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr));
gap:.4rem 1.6rem;align-items:start}}
.plots .wide{{grid-column:1/-1}}figure.wide{{overflow-x:auto}}figure.wide svg{{min-width:32rem}}
.note{{border-left:3px solid var(--accent);background:var(--soft);padding:.55rem .9rem;
border-radius:0 8px 8px 0;font-size:.93rem}}
.note.bad{{border-color:var(--bad)}}.bad strong,strong.bad,td .bad{{color:var(--bad)}}.good{{
color:var(--good)}}
details{{margin:.8rem 0;border:1px solid var(--rule);border-radius:10px;padding:.2rem .9rem}}
details[open]{{padding-bottom:.8rem}}
summary{{cursor:pointer;padding:.4rem 0;font-weight:600;font-size:.93rem}}
.cards{{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:1rem;
margin:1rem 0}}
.card{{border:1px solid var(--rule);border-radius:12px;padding:.9rem 1rem;min-width:0;
overflow-wrap:anywhere}}
.card h3,.card h4{{margin:0 0 .4rem;font-size:.98rem}}.card img,.card svg{{max-width:100%;height:auto}}
.card p{{margin:.35rem 0;font-size:.92rem}}
img.cell{{border-radius:6px;box-shadow:0 0 0 1px var(--rule);
background:var(--soft);image-rendering:auto;max-width:100%}}
.pair{{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:.5rem}}
.pair img{{width:100%;max-width:12rem}}
audio{{width:100%;max-width:20rem;height:2.2rem;display:block;margin:.4rem 0}}
.words{{line-height:2;overflow-wrap:anywhere}}.words mark{{color:inherit;background:none;
border-radius:4px;padding:.1em 0}}
.bars{{display:grid;grid-template-columns:minmax(0,max-content) minmax(2.5rem,1fr) max-content;
gap:.2rem .7rem;align-items:center;
font-size:.88rem;font-variant-numeric:tabular-nums;max-width:34rem}}
.bars>span{{overflow-wrap:anywhere;min-width:0}}
.bars .track{{position:relative;height:.8rem;background:var(--soft);border-radius:4px;
overflow:hidden}}
.bars .track i{{position:absolute;top:0;bottom:0;border-radius:3px;background:rgb(var(--for))}}
.bars .track i.less{{background:rgb(var(--against))}}
.chip{{display:inline-block;padding:.05rem .55rem;border-radius:999px;background:var(--soft);
font-size:.82rem}}
footer{{grid-column:1/-1;color:var(--faint);font-size:.85rem;border-top:1px solid var(--rule);
padding-top:1rem}}
@media(max-width:860px){{
.frame{{display:block;padding:1.1rem .9rem 3rem}}header.top h1{{font-size:1.4rem}}
nav.parts{{position:static;margin:1rem 0}}
nav.parts ol{{display:flex;flex-wrap:wrap;gap:.4rem;border:0}}
nav.parts a{{border:1px solid var(--rule);border-radius:999px;padding:.2rem .75rem;margin:0;
background:var(--card)}}
section.part{{padding:1rem .95rem 1.1rem;border-radius:12px}}
.facts{{grid-template-columns:minmax(0,1fr)}}.facts dd{{margin-bottom:.4rem}}
.tiles{{grid-template-columns:repeat(2,minmax(0,1fr))}}.tiles strong{{font-size:1.25rem}}
th,td{{padding:.3rem .5rem}}}}
@media(prefers-reduced-motion:reduce){{html{{scroll-behavior:auto}}}}
@media print{{
:root,:root:has(#look-dark:checked){{{_LIGHT}}}
body{{background:#fff;font-size:11pt}}.frame{{display:block;max-width:none;padding:0}}
*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}header.top{{margin-bottom:1.2rem}}
nav.parts,fieldset.look,.skip,audio{{display:none}}
section.part{{border:0;padding:0;margin:0 0 1.2rem;break-inside:auto}}
h2,h3,h4{{break-after:avoid}}figure,.card,tr,.tiles>div{{break-inside:avoid}}
.scroll{{overflow:visible}}th,td{{white-space:normal}}
details>*{{display:block}}details::details-content{{content-visibility:visible;block-size:auto}}}}
"""
