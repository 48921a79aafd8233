"""The page of a deployment: what it answers, what it takes, and examples that work as they stand.

Rendered once, when the replica starts. Everything that comes from the envelope is escaped; nothing
is fetched from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape

from envelope.inputs import inputs_of
from envelope.schema.words import describe
from ray_runtime.lanes import Lane
from ray_runtime.live import Live
from ray_runtime.protocols.examples import Example, example_of
from ray_runtime.protocols.snippets import query_path, snippets


def render(live: Live) -> bytes:
    """Return the page as HTML."""
    manifest, deployment = live.envelope.manifest, live.options.deployment
    facts = {
        "Model": manifest.name,
        "Envelope": manifest.id,
        "Release": live.options.release_id or "none",
        "Saved": f"{manifest.created_at:%Y-%m-%d %H:%M} UTC by {manifest.created_by}",
        "Python": manifest.environment.python,
    }
    parts = [
        f"<h1>{escape(deployment)}</h1>",
        f'<p class="lead">{escape(manifest.description)}</p>' if manifest.description else "",
        "<dl>",
        *(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()),
        "</dl>",
        '<nav><a href="docs/api">Try it (Swagger UI)</a> <a href="openapi.json">openapi.json</a>'
        ' <a href="v0/model_info">model_info</a></nav>',
        *(_function(name, lane, live) for name, lane in live.lanes.items()),
    ]
    return _PAGE.format(title=escape(deployment), body="\n".join(filter(None, parts))).encode()


def _function(name: str, lane: Lane, live: Live) -> str:
    is_default = lane is live.default
    example = example_of(lane.function, lane.checker)
    path = query_path(live, lane)
    output = lane.function.schema.output
    rows = "\n".join(
        f'<tr><th scope="row">{escape(one.name)}</th>'
        f"<td>{escape(one.type)}</td><td>{escape(one.seen)}</td><td>{one.null}</td></tr>"
        for one in inputs_of(lane.function.function)
    )
    shape = "One output per row." if lane.function.row_wise.is_row_wise else "One output per call."
    parts = [
        f'<section aria-labelledby="f-{escape(name)}">',
        f'<h2 id="f-{escape(name)}">{escape(name)}'
        + (" <small>default</small></h2>" if is_default else "</h2>"),
        f"<p>{escape(lane.function.function.description)}</p>",
        f"<p><code>POST {escape(path)}</code></p>",
        "<h3>Input</h3>",
        '<div class="wide" tabindex="0" role="region" aria-label="Inputs"><table><thead><tr>'
        '<th scope="col">name</th><th scope="col">type</th><th scope="col">seen in training</th>'
        f'<th scope="col">null</th></tr></thead><tbody>{rows}</tbody></table></div>',
        "<h3>Output</h3>",
        f"<p><code>{escape('not stated' if output is None else describe(output))}</code></p>"
        f"<p>{shape}</p>",
    ]
    if example is None:
        parts.append("<p>There is no example: no sample was kept, and none could be made.</p>")
    else:
        parts += _examples(path, example)
    return "\n".join([*parts, "</section>"])


def _examples(path: str, example: Example) -> Iterator[str]:
    made_of = "the sample that was saved" if example.output is not None else "the types"
    yield f"<h3>Examples</h3><p>Made from {made_of}; they work as they stand.</p>"
    for title, text in snippets(path, example).items():
        yield _code(TITLES[title], text)
    if example.output is not None:
        yield _code("Answer", json.dumps(example.output, ensure_ascii=False, indent=2))


TITLES = {"curl": "curl", "python": "Python", "csv": "CSV"}


def _code(title: str, text: str) -> str:
    return (
        f'<figure><figcaption>{title}<button type="button" hidden>Copy</button></figcaption>'
        f'<pre tabindex="0" data-example="{title}"><code>{escape(text)}</code></pre></figure>'
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/page.css">
</head>
<body>
<main>
{body}
</main>
<script src="docs/page.js"></script>
</body>
</html>
"""
CSS = b""":root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #1f6feb; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.55 system-ui, sans-serif; background: Canvas; color: CanvasText; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { margin: 3rem 0 .5rem; padding-top: 1.5rem; border-top: 1px solid var(--line); }
h3 { margin: 1.75rem 0 .5rem; font-size: 1rem; }
small { font-size: .75rem; font-weight: 500; padding: .15em .6em; border-radius: 1em;
  background: var(--soft); vertical-align: middle; }
.lead { font-size: 1.1rem; margin: 0 0 1.25rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .75rem;
  margin: 1rem 0; }
dl div { padding: .6rem .8rem; background: var(--soft); border-radius: .5rem; }
dt { font-size: .75rem; opacity: .7; }
dd { margin: 0; overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; }
a { color: var(--accent); }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .45rem .8rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { font-size: .75rem; font-weight: 500; opacity: .7; }
tbody th { font: 600 .875rem/1.7 ui-monospace, monospace; }
figure { margin: 0 0 1rem; border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figcaption { display: flex; justify-content: space-between; align-items: center;
  padding: .35rem .8rem; min-height: 2.25rem; font-size: .8rem; background: var(--soft); }
pre { margin: 0; padding: .8rem; overflow-x: auto; max-height: 24rem; }
button { font: inherit; padding: .1rem .7rem; cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (prefers-color-scheme: dark) { :root { --accent: #6cb0ff; } }
"""
# The page is the same behind any proxy: the browser knows the address that reached it.
JS = b"""const base = location.href.replace(/\\/docs.*$/, "");
const path = base.slice(base.lastIndexOf("/"));
for (const pre of document.querySelectorAll("pre[data-example]")) {
  const code = pre.firstChild;
  if (pre.dataset.example !== "Answer") {
    code.textContent = code.textContent.replace("http://localhost:8000" + path, base);
  }
  const button = pre.parentNode.querySelector("button");
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.onclick = async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  };
}
"""
