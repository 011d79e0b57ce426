"""Docstrings mark names as transformers does, [`LyraConfig`]; the site shows them as code."""

import re


def on_page_content(html: str, **_: object) -> str:
    return re.sub(r"\[(<code>[^<]*</code>)\]", r"\1", html)
