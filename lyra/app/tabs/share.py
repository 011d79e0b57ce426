"""Publish a model on the Hub."""

from typing import Any

import gradio as gr
from huggingface_hub import constants

from ...errors import InputError
from ...hub import publish, publish_space
from ..site import Site
from .job_tab import as_problem, point_at, with_info, without_folders


class ShareTab:
    verb, title = "share", "Share"

    def __init__(self, site: Site, token: gr.BrowserState):
        self.site = site
        with gr.Tab(self.title, id=self.verb) as self.tab:
            self.model = gr.Dropdown([], label="Model", info="One of yours.", elem_id="share-model")
            self.repository = gr.Textbox(label="Repository", info="Such as user/name.", elem_id="share-repository")
            self.secret = gr.Textbox(
                label="Token",
                type="password",
                info="With the right to write, from huggingface.co/settings/tokens. It is used once and not kept.",
                elem_id="share-token",
            )
            self.private = gr.Checkbox(label="Private")
            self.space = gr.Checkbox(label="Also make a Space, a web page to try the model", elem_id="share-space")
            self.start = gr.Button("Publish", variant="primary", elem_id="share-start")
            self.problem = gr.Markdown(elem_id="share-problem", elem_classes="problem")
            self.published = gr.Markdown(elem_id="share-published")
        asked = [token, self.model, self.repository, self.secret, self.private, self.space]
        self.fields = {"model": self.model, "repository": self.repository, "token": self.secret}
        shown = [self.problem, self.published, *with_info(self.fields)]
        self.start.click(self._publish, asked, shown, concurrency_limit=1, api_visibility="private")
        self.tab.select(self._models, token, self.model, api_visibility="private", show_progress="hidden")

    def _models(self, token: str) -> Any:
        return gr.update(choices=list(self.site.workspace.visitor(token).own_models()))

    def _publish(
        self, token: str, model: str | None, repository: str, secret: str, private: bool, space: bool
    ) -> list[Any]:
        repository, secret = repository.strip(), secret.strip()
        folder = self.site.workspace.visitor(token).own_models().get(model or "")
        problem, urls = "", list[str]()
        try:
            if folder is None:
                raise InputError("model: choose one that you trained")
            if not secret:
                raise InputError("token: expected one of the Hub; that of the server is not for visitors")
            publish(str(folder), repository, private=private, token=secret)
            urls.append(f"{constants.ENDPOINT}/{repository}")
            if space:
                publish_space(folder, repository, private, token=secret)
                urls.append(f"{constants.ENDPOINT}/spaces/{repository}")
        except InputError as error:
            message = str(error).replace(secret, "...") if secret else str(error)
            problem = without_folders(f"Space: {message}" if urls else message, folder)
        named = "repository" if problem.startswith((f"{repository}:", f"{repository!r}:")) else ""
        *others, token_field = point_at(self.fields, problem, named)
        published = f"Published: {', '.join(urls)}" if urls else ""
        return [as_problem(problem) if problem else "", published, *others, token_field | {"value": ""}]
