"""The XHTML of narratives."""

import pytest

from patient_api.fhir.profile.narrative import is_narrative

NAMESPACE = 'xmlns="http://www.w3.org/1999/xhtml"'


def div(inner: str) -> str:
    return f"<div {NAMESPACE}>{inner}</div>"


@pytest.mark.parametrize(
    "text",
    [
        div("text"),
        f"  {div('text')}\n",
        '<h:div xmlns:h="http://www.w3.org/1999/xhtml" xml:lang="en"><h:p>text</h:p></h:div>',
        div('<table class="x"><tr><td colspan="2" style="color: red">1 &lt; 2 &#xe9; \u674e</td></tr></table>'),
        div('<a href="https://example.org/a:b">x</a><a href="#a">y</a><a href="/x?y=a:b">z</a><a href="page">w</a>'),
        div('<img src="data:image/png;base64,AA==" alt="x"/>'),
        div('<p style="list-style-position: inside; background-position: 0 0">text</p>'),
    ],
)
def test_formatting_is_accepted(text: str) -> None:
    assert is_narrative(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "<div>text</div>",
        f"<p {NAMESPACE}>text</p>",
        div(""),
        div("<p> \n</p>"),
        div("text") * 2,
        div("text") + "more",
        div("<b>text"),
        div("text&nbsp;"),
        div("<script>alert(1)</script>"),
        div("<SCRIPT>alert(1)</SCRIPT>"),
        div('<p onclick="alert(1)">text</p>'),
        div("<form>text</form>"),
        div('<iframe src="https://example.org"/>text'),
        div('<object data="https://example.org"/>text'),
        div("<style>p {}</style>text"),
        div('<p xmlns="http://www.w3.org/2000/svg">text</p>'),
        div('<p xmlns:x="http://example.org" x:class="y">text</p>'),
        div('<a href="javascript:alert(1)">text</a>'),
        div('<a href=" JavaScript:alert(1)">text</a>'),
        div('<a href="java&#10;script:alert(1)">text</a>'),
        div('<a href="&#1;javascript:alert(1)">text</a>'),
        div('<a href="&#9;javascript:alert(1)">text</a>'),
        div('<img src="data:image/svg+xml;base64,AA=="/>'),
        div('<a href="data:text/html,x">text</a>'),
        div('<p style="background: url(https://example.org)">text</p>'),
        div('<p style="width: expression(alert(1))">text</p>'),
        div('<p style="background: u\\72l(x)">text</p>'),
        div('<p style="position:fixed">text</p>'),
        div('<p style="top: 0; POSITION : absolute">text</p>'),
        div('<p style="color: red;&#10;position&#9;: sticky">text</p>'),
        div("text<!-- comment -->"),
        div("text<!--><script>alert(1)</script>-->"),
        div("text<![CDATA[><script>alert(1)</script>]]>"),
        div("<?php x ?>text"),
        f'<?xml version="1.0"?>{div("text")}',
        f"<!DOCTYPE div>{div('text')}",
        f'<!DOCTYPE div [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>{div("&b;")}',
        f'<!DOCTYPE div [<!ENTITY a SYSTEM "file:///etc/passwd">]>{div("&a;")}',
    ],
)
def test_active_or_hidden_content_is_rejected(text: str) -> None:
    assert not is_narrative(text)
