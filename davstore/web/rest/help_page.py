"""The page that shows the OpenAPI document to a person. It needs nothing but itself."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
from markupsafe import Markup, escape

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 2px solid GrayText; }
h3 { font-size: 1rem; margin-top: 2rem; }
h3 b { display: inline-block; min-width: 4.5rem; }
code { font: .9em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
caption { text-align: start; color: GrayText; }
th, td { padding: .3rem .5rem; text-align: start; vertical-align: top; font-weight: normal; }
thead th { border-bottom: 1px solid GrayText; }
:target { background: color-mix(in srgb, Highlight 20%, Canvas); }
a { text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
"""

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: What the page needs, and nothing else.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{{ info.title }}: its REST face</title>
<style>{{ style }}</style>
</head>
<body>
<h1>{{ info.title }} {{ info.version }}: its REST face</h1>
<p>{{ info.description | words }}</p>
<p>Addresses begin with {% for server in servers -%}
<code>{{ server.url }}</code>{{ " or " if not loop.last }}{% endfor %}.
The same for programs: ask for <code>application/json</code>.</p>

<h2 id="endpoints">Endpoints</h2>
<ul>
{% for path, method, each in operations -%}
<li><a href="#{{ each.operationId }}"><code>{{ method }} {{ path }}</code></a>
{{ each.summary | words }}</li>
{% endfor -%}
</ul>

{% for path, method, each in operations -%}
<h3 id="{{ each.operationId }}"><b>{{ method }}</b> <code>{{ path }}</code></h3>
<p>{{ each.summary | words }} {{ each.description | words }}</p>
{% if each.parameters -%}
<table>
<caption>Parameters</caption>
<thead><tr><th scope="col">Name</th><th scope="col">In</th><th scope="col">Values</th>
<th scope="col">Meaning</th></tr></thead>
<tbody>
{% for one in each.parameters -%}
<tr><th scope="row"><code>{{ one.name }}</code>{{ " (needed)" if one.required }}</th>
<td>{{ one.in }}</td><td>{{ one.schema | values }}</td>
<td>{{ one.description | words }}</td></tr>
{% endfor -%}
</tbody>
</table>
{% endif -%}
{% if each.requestBody -%}
<table>
<caption>Body. {{ each.requestBody.description | words }}</caption>
<thead><tr><th scope="col">Type</th><th scope="col">Member</th><th scope="col">Values</th>
<th scope="col">Meaning</th></tr></thead>
<tbody>
{% for kind, media in each.requestBody.content.items() -%}
{% for name, schema in (media.schema.properties or {"": media.schema}).items() -%}
<tr><th scope="row">{% if loop.first %}<code>{{ kind }}</code>{% endif %}</th>
<td><code>{{ name }}</code>{{ " (needed)" if name in (media.schema.required or ()) }}</td>
<td>{{ schema | values }}</td>
<td>{{ schema.description | words }}</td></tr>
{% endfor -%}
{% endfor -%}
</tbody>
</table>
{% endif -%}
<table>
<caption>Answers</caption>
<tbody>
{% for status, one in each.responses.items() -%}
<tr><th scope="row">{{ status }}</th><td>
{% for code in one | codes -%}
<a href="#{{ code }}"><code>{{ code }}</code></a>{{ ", " if not loop.last }}
{%- else -%}
{{ one.description | words }}
{% for kind in one.content or () %}<code>{{ kind }}</code> {% endfor %}
{%- endfor %}</td></tr>
{% endfor -%}
</tbody>
</table>
{% endfor -%}

<h2 id="limits">Limits</h2>
<table>
<tbody>
{% for name, value in limits.items() -%}
<tr><th scope="row"><code>{{ name }}</code></th><td>{{ "{:,}".format(value) }}</td></tr>
{% endfor -%}
</tbody>
</table>

<h2 id="problems">Problem codes</h2>
<table>
<tbody>
{% for code, one in problems.items() -%}
<tr id="{{ code }}"><th scope="row"><code>{{ code }}</code></th><td>{{ one.status }}</td>
<td>{{ one.title }}</td></tr>
{% endfor -%}
</tbody>
</table>
</body>
</html>
"""

_CODE = re.compile(r"`([^`]*)`")


def render(document: Mapping[str, Any]) -> bytes:
    """The page of an OpenAPI document as `describing` and `help` make it, as UTF-8."""
    page = _template().render(
        style=Markup(_STYLE),  # noqa: S704 - a constant
        info=document["info"],
        servers=document["servers"],
        operations=list(_operations(document)),
        limits=document["x-limits"],
        problems=document["x-problems"],
    )
    return page.encode()


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True)
    environment.filters |= {"words": _words, "values": _values, "codes": _codes}
    return environment.from_string(_PAGE)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method, each in item.items():
            yield path, method.upper(), each


def _words(text: str | None) -> Markup:
    """A description; what stands between backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text or ""))))  # noqa: S704 - escaped


def _codes(response: Mapping[str, Any]) -> list[str]:
    """The problem codes of a refusal; none of a success."""
    content = response.get("content", {}).get("application/problem+json")
    if content is None:
        return []
    codes: list[str] = content["schema"]["allOf"][1]["properties"]["code"]["enum"]
    return codes


def _values(schema: Mapping[str, Any]) -> str:
    """What a schema allows, in short: "whole number, 1 to 10000", "name | size"."""
    if "anyOf" in schema:
        return " | ".join(_values(each) for each in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    names = {"integer": "whole number", "boolean": "true | false", "string": "text"}
    kind = str(schema.get("type", "anything"))
    text = schema.get("format") or names.get(kind, kind)
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None or most is not None:
        text += f", {'' if least is None else least} to {'' if most is None else most}"
    if "pattern" in schema:
        text += f" {schema['pattern']}"
    if schema.get("default") is not None:
        text += f" (default {schema['default']})".lower()
    return text
