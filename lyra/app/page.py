"""The web page: tabs, and who is looking."""

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from ..errors import InputError
from ..files import locked
from .site import Limits, Site
from .tabs import TABS
from .tabs.job_tab import JobTab
from .tabs.predict import PredictTab
from .tabs.scan import ScanTab
from .workspace import VISITORS, new_token

_THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
_CSS = ".problem { color: #b00020; font-weight: 600 } .log textarea { font-family: monospace; font-size: 12px }"
_WAITING_EVENTS = 500
_LOOPBACK = ("127.0.0.1", "localhost", "::1")  # whoever is there, is who started it
_TITLE, _SAYS = "Lyra", "Small accurate models of DNA, RNA and protein sequences."
# Of two slow cores that everybody shares.
_SPACE_LIMITS = Limits(upload=20, rows=100_000, length=20_000, waiting=10, minutes=30)


def build_page(site: Site, tabs: Sequence[type] = TABS, title: str = _TITLE, says: str = _SAYS) -> gr.Blocks:
    """The page of a site."""
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as page:
        gr.Markdown(f"# {title}\n{says}")
        # Kept by the browser, so that a visitor who comes back finds their folder.
        token = gr.BrowserState("", storage_key="lyra-visitor", secret="lyra")
        built = [tab(site, token) for tab in tabs]
        arrived = page.load(lambda known: known or new_token(), token, token, api_visibility="private")
        for tab in built:
            if isinstance(tab, JobTab):
                arrived.then(tab.arrive, token, tab.choice, api_visibility="private", show_progress="hidden")
    return page.queue(max_size=_WAITING_EVENTS, default_concurrency_limit=8)


def serve(root: Path, host: str, port: int, limits: Limits) -> None:
    """Shows the page until it is interrupted.

    Args:
        root: folder of models for all visitors, and of what each makes.

    Raises:
        InputError: if another page has the folder, or another program the port.
    """
    with locked(root / VISITORS):
        site = Site(root, limits, token=None if host in _LOOPBACK else False)
        _launch(site, build_page(site), host, port)


def serve_models(root: Path, title: str) -> None:
    """Shows a page that predicts and scans with the models of a folder and no others: that of a Space, whose address
    the environment tells (`GRADIO_SERVER_NAME`, `GRADIO_SERVER_PORT`)."""
    site = Site(root, _SPACE_LIMITS, hub=False)
    _launch(
        site, build_page(site, (PredictTab, ScanTab), title, "Paste sequences, or a wild type to scan."), None, None
    )


def _launch(site: Site, page: gr.Blocks, host: str | None, port: int | None) -> None:
    try:
        _listen(site, page, host, port)
        address = f"http://{page.server_name}:{page.server_port}"
        print(f"lyra app: {address} (Ctrl-C ends it); models are in {site.workspace.root}", flush=True)
        page.block_thread()
    finally:
        site.queue.close()
        page.close(verbose=False)


def _listen(site: Site, page: gr.Blocks, host: str | None, port: int | None) -> None:
    try:
        page.launch(
            server_name=host,
            server_port=port,
            allowed_paths=[str(site.workspace.root / VISITORS)],
            max_file_size=f"{site.limits.upload}mb",
            theme=_THEME,
            css=_CSS,
            footer_links=[],
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError:
        raise InputError(f"--port: {port} cannot be listened on, it may be in use; choose another") from None
