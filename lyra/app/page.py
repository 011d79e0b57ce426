"""The web page: tabs, and who is looking."""

from pathlib import Path

import gradio as gr

from .site import Limits, Site
from .tabs import TABS
from .tabs.job_tab import JobTab
from .workspace import VISITORS, new_token

_THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
_CSS = ".problem { color: #b00020; font-weight: 600 } .log textarea { font-family: monospace; font-size: 12px }"
_WAITING_EVENTS = 500


def build_page(site: Site) -> gr.Blocks:
    """The page of a site."""
    with gr.Blocks(title="Lyra", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.Markdown("# Lyra\nSmall accurate models of DNA, RNA and protein sequences.")
        # Kept by the browser, so that a visitor who comes back finds their folder.
        token = gr.BrowserState("", storage_key="lyra-visitor", secret="lyra")
        tabs = [tab(site, token) for tab in TABS]
        arrived = page.load(lambda known: known or new_token(), token, token, api_visibility="private")
        for tab in tabs:
            if isinstance(tab, JobTab):
                arrived.then(tab.arrive, token, tab.choice, api_visibility="private", show_progress="hidden")
    return page.queue(max_size=_WAITING_EVENTS, default_concurrency_limit=8)


def serve(root: Path, host: str, port: int, limits: Limits) -> None:
    """Shows the page until it is interrupted.

    Raises:
        OSError: if the port is taken.
    """
    site = Site(root, limits)
    page = build_page(site)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            allowed_paths=[str(site.workspace.root / VISITORS)],
            max_file_size=f"{limits.upload}mb",
            theme=_THEME,
            css=_CSS,
            footer_links=[],
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
        print(f"lyra app: http://{host}:{page.server_port} (Ctrl-C ends it); models are in {root}", flush=True)
        page.block_thread()
    finally:
        site.queue.close()
        page.close(verbose=False)
