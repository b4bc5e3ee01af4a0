"""The style of the report: light or dark by the system's preference, and suitable for printing."""

from typing import Final

_LIGHT: Final = """
--paper:#fff;--card:#f4f6f8;--ink:#17202a;--faint:#55606b;--rule:#d5dbe1;--good:#0b6e4f;--bad:#b3261e;--warn:#8a5a00;
--succeeded:#2f7fb8;--refused:#e69f00;--failed:#c2361f;--a:#2f7fb8;--b:#8e5bb5;--other:#8a949e;--up:#4c9f70;
"""
_DARK: Final = """
--paper:#12171d;--card:#1c232b;--ink:#e8edf2;--faint:#a3afba;--rule:#36404a;--good:#5fd0a0;--bad:#ff8a7a;--warn:#f2c14e;
--succeeded:#5aa9e0;--refused:#f2b632;--failed:#ff6f5b;--a:#5aa9e0;--b:#c193e6;--other:#7d8893;--up:#5fb585;
"""

STYLE: Final = f"""
:root{{color-scheme:light dark;{_LIGHT}}}
@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}
*{{box-sizing:border-box}}
body{{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}}
main{{max-width:1100px;margin:0 auto;padding:1rem}}
h1{{font-size:1.4rem;margin:1rem 0 .5rem}}h2{{font-size:1.2rem;margin:2rem 0 .5rem}}h3{{font-size:1rem;margin:0}}
p{{margin:.2rem 0}}.measured,figcaption p,.figures small,.from{{color:var(--faint)}}
.verdict{{border-left:.5rem solid var(--warn);background:var(--card);padding:.8rem 1rem;margin:1rem 0}}
.verdict strong{{display:block;font-size:2.2rem;line-height:1.2;color:var(--warn)}}
.verdict.passed{{border-color:var(--good)}}.verdict.passed strong{{color:var(--good)}}
.verdict.failed{{border-color:var(--bad)}}.verdict.failed strong{{color:var(--bad)}}
.figures{{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.6rem;margin:0}}
.figures div{{background:var(--card);padding:.6rem .8rem}}.figures dt{{color:var(--faint)}}.figures dd{{margin:0}}
.figures b{{display:block;font-size:1.5rem;line-height:1.3}}
figure{{margin:1.4rem 0}}figcaption p{{font-size:.875rem}}
.legend{{list-style:none;display:flex;flex-wrap:wrap;gap:0 1rem;margin:.2rem 0;padding:0;font-size:.875rem}}
.key{{display:inline-block;width:.8rem;height:.8rem;margin-right:.35rem}}
.moments{{columns:17rem;margin:.5rem 0;padding-left:1.6rem}}.moments .fault{{color:var(--bad)}}
.moments .good{{color:var(--good)}}
.chart{{display:block;width:100%;height:auto}}.chart text{{font-size:11px;fill:var(--faint)}}
.chart .name{{fill:var(--ink)}}.grid{{stroke:var(--rule)}}.axis{{stroke:var(--faint)}}
.when line{{stroke:var(--ink);stroke-dasharray:4 3}}
.when text{{fill:var(--ink);font-weight:700;paint-order:stroke;stroke:var(--paper);stroke-width:5}}
.when.fault line{{stroke:var(--bad)}}.when.fault text{{fill:var(--bad)}}
.when.good line{{stroke:var(--good)}}.when.good text{{fill:var(--good)}}
polyline{{fill:none;stroke-width:1.6}}polyline.worst{{stroke-width:5}}rect{{shape-rendering:crispEdges}}
.when line.halo.halo{{stroke:var(--paper);stroke-width:3;stroke-dasharray:none;opacity:.75}}
.succeeded{{fill:var(--succeeded);background:var(--succeeded)}}.refused{{fill:var(--refused);background:var(--refused)}}
.failed.mark,.failed.key,.down{{fill:var(--failed);background:var(--failed)}}.up{{fill:var(--up);background:var(--up)}}
.region-0{{fill:var(--a);background:var(--a)}}.region-1{{fill:var(--b);background:var(--b)}}
.other{{fill:var(--other);background:var(--other)}}
.middle{{stroke:var(--succeeded);background:var(--succeeded)}}.tail{{stroke:var(--refused);background:var(--refused)}}
.worst{{stroke:var(--failed);background:var(--failed)}}
polyline.mark{{fill:none}}.region-0.stroke{{stroke:var(--a)}}.region-1.stroke{{stroke:var(--b)}}
.other.stroke{{stroke:var(--other)}}
.wide{{overflow-x:auto}}table{{border-collapse:collapse;width:100%;font-size:.9rem}}
th,td{{text-align:left;vertical-align:top;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--rule)}}
th,td{{overflow-wrap:break-word}}td{{min-width:4rem}}pre{{white-space:pre-wrap;background:var(--card);padding:.8rem;font-size:.85rem}}
@media (max-width:600px){{.chart text{{font-size:22px}}.verdict strong{{font-size:1.8rem}}body{{font-size:15px}}}}
@media print{{:root{{color-scheme:light;{_LIGHT}}}*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
body{{font-size:10pt}}main{{max-width:none;padding:0}}figure,.verdict,tr{{break-inside:avoid}}.wide{{overflow:visible}}td{{overflow-wrap:anywhere}}}}
"""
