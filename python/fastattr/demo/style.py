"""The page's style sheet: no font, picture or script is fetched; light and dark by the reader's setting."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --page: #fbfaf7; --paper: #ffffff; --ink: #23262b; --soft: #666a70; --line: #dedbd3; --for: #d95f02;
  --against: #1368ad;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #16181b; --paper: #202327; --ink: #e9e7e2; --soft: #a2a5aa; --line: #383b40; --for: #ff9a45;
    --against: #5cb3ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink); line-height: 1.6;
  font: 1.0625rem/1.6 Charter, "Bitstream Charter", "Iowan Old Style", Georgia, serif;
}
main { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
h1 { font-size: 2.6rem; line-height: 1.15; margin: 0 0 1rem; letter-spacing: -.015em; font-weight: 600; }
h2 { font-size: 1.6rem; line-height: 1.25; margin: 4.5rem 0 .6rem; font-weight: 600; letter-spacing: -.01em; }
p { max-width: 40rem; margin: 0 0 1rem; }
.lead { font-size: 1.25rem; line-height: 1.5; }
.for-word, .against-word { font-weight: 600; }
.for-word { color: var(--for); }
.against-word { color: var(--against); }
svg { display: block; width: 100%; height: auto; }
.paper { fill: var(--paper); stroke: var(--line); stroke-width: 1px; vector-effect: non-scaling-stroke; }
.ink { fill: var(--ink); shape-rendering: crispEdges; }
.for { fill: var(--for); shape-rendering: crispEdges; }
.against { fill: var(--against); shape-rendering: crispEdges; }
.outline {
  fill: none; stroke: var(--ink); stroke-width: 1.5px; vector-effect: non-scaling-stroke; stroke-linecap: square;
  opacity: .7; pointer-events: none;
}
figure { margin: 0; }
img { display: block; max-width: 100%; border-radius: 6px; margin-top: 1.25rem; }
a { color: var(--against); }
figcaption, th, td, .legend, .small, nav { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
figcaption { font-size: .875rem; line-height: 1.45; color: var(--soft); padding-top: .5rem; }
figcaption b { color: var(--ink); font-weight: 600; display: block; }
.row { display: grid; gap: 1.75rem; margin: 1.75rem 0 0; align-items: start; }
.hero { grid-template-columns: 1fr 1.6fr 1.3fr; }
.three { grid-template-columns: repeat(3, 1fr); }
.six { grid-template-columns: repeat(6, 1fr); gap: 1.25rem; }
.six figcaption { font-size: .8125rem; }
.seven { grid-template-columns: repeat(7, 1fr); gap: 1rem; }
.nine { grid-template-columns: repeat(9, 1fr); gap: .9rem; }
.pushed { grid-template-columns: 1fr 1fr 3fr; }
.pushed .nine { margin: 0; grid-template-columns: repeat(5, 1fr); }
.seven figcaption, .nine figcaption { font-size: .75rem; line-height: 1.35; padding-top: .3rem; }
.products { margin-top: .6rem; }
dl {
  display: grid; grid-template-columns: max-content 1fr; gap: .7rem 1.75rem; max-width: 56rem; margin: 1.5rem 0 2.5rem;
}
dt { font: 600 .9375rem/1.7 system-ui, -apple-system, "Segoe UI", sans-serif; }
dd { margin: 0; }
dd span { color: var(--soft); }
.facts { font-size: .95rem; align-self: center; }
.facts p { margin: 0 0 .9rem; }
.facts .number { font: 600 2.4rem/1 system-ui, sans-serif; display: block; font-variant-numeric: tabular-nums; }
.legend { display: flex; align-items: center; gap: .75rem; font-size: .8125rem; color: var(--soft); margin-top: 1rem; }
.bar {
  height: .75rem; width: 13rem; border: 1px solid var(--line); flex: none;
  background: linear-gradient(to right, var(--against), var(--paper), var(--for));
}
.small { font-size: .875rem; color: var(--soft); margin-top: .75rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin-top: 1.25rem; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1.1rem .4rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); font-size: .8125rem; }
th:first-child { text-align: left; }
tbody th { color: var(--ink); font-size: .875rem; vertical-align: top; white-space: normal; min-width: 8rem; }
tbody tr:last-child > *, tbody th { border-bottom-color: var(--soft); }
pre {
  background: var(--paper); border: 1px solid var(--line); border-radius: 6px; padding: 1.1rem 1.3rem; overflow-x: auto;
  font: .9rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; max-width: 46rem;
}
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.after { margin-top: 1.75rem; }
.all-nine { grid-template-columns: repeat(9, 1fr); gap: .75rem; }
.all-nine figcaption { font-size: .75rem; line-height: 1.35; }
@media (max-width: 44rem) {
  h1 { font-size: 2rem; }
  .hero { grid-template-columns: 1fr 1.6fr; }
  .facts { grid-column: 1 / -1; }
  .six { grid-template-columns: repeat(3, 1fr); }
  .all-nine { grid-template-columns: repeat(3, 1fr); }
  .seven { gap: .4rem; }
  .seven figcaption { font-size: .625rem; hyphens: auto; }
  .pushed { grid-template-columns: 1fr 1fr; }
  .pushed .nine { grid-column: 1 / -1; }
  .legend { flex-wrap: wrap; }
  .bar { width: 8rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .9rem; }
}
"""
