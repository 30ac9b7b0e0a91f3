"""The page for browsers: one file, without scripts, that loads nothing.

One click on a block selects the whole of it. Everything that is filled in is escaped, and the policy forbids whatever
could be smuggled in besides.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from moorage.public.trust_text import paragraphs
from moorage.trust.place import Place
from moorage.trust.shell import PASTE_HERE
from moorage.trust.step import NO_RESTART, Step

_STYLE = """
:root { color-scheme: light dark; --ink: #1b2733; --dim: #5a6b7b; --paper: #fbfcfd; --card: #fff; --line: #d9e1e8;
  --code: #f1f5f8; --accent: #0b6bcb; --mark: #ffe9a8; --good: #1a7f4b; --warn: #9a5b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4ebf1; --dim: #9fb0bf; --paper: #10161c; --card: #172029;
  --line: #2b3946; --code: #0c1217; --accent: #6cb4ff; --mark: #6b5200; --good: #5fd39a; --warn: #f0b95a } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 52rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; -webkit-text-size-adjust: 100% }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; overflow-wrap: anywhere }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem }
h3 { font-size: .95rem; margin: 1.2rem 0 .4rem }
svg { display: block; width: 100%; max-width: 30rem; height: auto; margin: 1.2rem auto; color: var(--ink) }
svg .dim { fill: var(--dim) } svg .arrow { color: var(--accent) } svg .by-hand { color: var(--good) }
svg rect { fill: var(--card); stroke: var(--line) }
details { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: .5rem 0 }
summary { padding: .75rem 1rem; cursor: pointer; font-weight: 600 }
details[open] > summary { border-bottom: 1px solid var(--line) }
details > div { padding: .4rem 1rem 1rem }
pre { background: var(--code); border: 1px solid var(--line); border-radius: .4rem; padding: .75rem; overflow: auto;
  font: .8rem/1.45 ui-monospace, Menlo, Consolas, monospace; user-select: all; -webkit-user-select: all;
  margin: .4rem 0; max-height: 22rem }
code { font: .9em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere }
mark { background: var(--mark); color: inherit; padding: .1em 0 }
p { margin: .6rem 0 } .dim { color: var(--dim) } .good { color: var(--good) } .warn { color: var(--warn) }
.note { border-left: 4px solid var(--warn); padding: .1rem 1rem }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PICTURE = """<svg viewBox="0 0 460 240" role="img" aria-labelledby="picture" font-family="system-ui, sans-serif"
 font-size="13" fill="currentColor" text-anchor="middle">
<title id="picture">The authority signs the registry's certificate; the client is given the authority's certificate, and
the fingerprint reaches it by another way</title>
<g fill="none" stroke="currentColor" stroke-width="1.5">
<rect x="150" y="10" width="160" height="50" rx="9"/>
<rect x="10" y="120" width="140" height="54" rx="9"/>
<rect x="310" y="120" width="140" height="54" rx="9"/>
<g class="arrow"><path d="M310 35 H380 V117 m-5 -9 l5 9 l5 -9"/><path d="M150 35 H80 V117 m-5 -9 l5 9 l5 -9"/>
<path d="M150 147 H307 m-9 -5 l9 5 l-9 5"/></g>
<g class="by-hand"><path stroke-dasharray="5 4" d="M380 174 V208 H80 V178"/><path d="M75 187 L80 178 L85 187"/></g>
</g>
<text x="230" y="32">private authority</text><text class="dim" x="230" y="50" font-size="12">ca.crt</text>
<text x="80" y="143">your client</text><text class="dim" x="80" y="161" font-size="12">docker, podman, ...</text>
<text x="380" y="143">registry</text><text class="dim" x="380" y="161" font-size="12">its certificate</text>
<g class="dim" font-size="12"><text x="408" y="80">signs</text><text x="48" y="72">these</text>
<text x="48" y="87">lines</text><text x="230" y="138">then TLS is trusted</text>
<text x="230" y="228">the fingerprint, by a way that you trust</text></g>
</svg>"""


def html_page(place: Place, steps: Sequence[Step], *, names: Sequence[str] = (), wrong: str = "") -> str:
    """*steps* for the registry at *place*, whose certificate is for *names*; *wrong*: the name that was asked for."""
    label = escape(place.label)
    first, *rest = (f"<p>{escape(text)}</p>" for text in paragraphs(place))
    sections = "\n".join(_section(step, is_open=len(steps) == 1) for step in steps)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trust {label}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Trust <code>{label}</code></h1>
{_wrong(place, names, wrong)}{first}
{_PICTURE}
{"".join(rest)}
<p class="note">These lines reached you over a connection that nothing has verified yet: read them
before you paste them.</p>
<p>On a machine that has Moorage, all of this is one command:</p>
<pre>moorage trust {label}</pre>
<h2>Your client</h2>
{sections}
<p class="dim">Only the certificate: <a href="/ca.crt">ca.crt</a>. This page as text:
<code>curl -k {escape(place.url)}/trust</code></p>
</body>
</html>
"""


def _wrong(place: Place, names: Sequence[str], wrong: str) -> str:
    if not wrong:
        return ""
    return (
        f'<p class="note">You asked for <code>{escape(wrong)}</code>, but the certificate is for'
        f" <code>{escape(', '.join(names))}</code>: these lines are for <code>{escape(place.label)}</code>.</p>\n"
    )


def _section(step: Step, *, is_open: bool) -> str:
    kind = "good" if step.restart.startswith(NO_RESTART) else "warn"
    # The one line that a person has to fill in, or to wait for the question.
    install = escape(step.install, quote=False).replace(PASTE_HERE, f"<mark>{PASTE_HERE}</mark>", 1)
    undo = escape(step.undo, quote=False).replace(PASTE_HERE, f"<mark>{PASTE_HERE}</mark>", 1)
    use = f"<h3>Then</h3>\n<pre>{escape(step.use, quote=False)}</pre>\n" if step.use else ""
    return f"""<details id="{escape(step.key)}"{" open" if is_open else ""}>
<summary>{escape(step.title)}</summary>
<div>
<p>{escape(step.why)}</p>
<p class="{kind}">{escape(step.restart)}</p>
<pre>{install}</pre>
{use}<h3>To undo it</h3>
<pre>{undo}</pre>
</div>
</details>"""
