"""The pipeline for values per residue: transformers' own would make probabilities of classes of them."""

from typing import Any

from transformers.pipelines.token_classification import TokenClassificationPipeline

from .configuration_lyra import LyraConfig

_OWN = {"token-classification": {"impl": "pipelines_lyra.LyraTokenPipeline", "pt": ["AutoModelForTokenClassification"]}}


class LyraTokenPipeline(TokenClassificationPipeline):
    """`token-classification` for a regression or several labels per residue: `score` is the value in label units, or
    the probability of the label.

    Returns:
        For each residue and output `entity` (the output), `score`, `index`, `word` (the letter), `start` and `end`.

    Example:

    ```python
    >>> from lyra import LyraConfig, LyraForTokenClassification, LyraTokenizer, LyraTokenPipeline

    >>> model = LyraForTokenClassification(LyraConfig(num_labels=1))
    >>> [each["word"] for each in LyraTokenPipeline(model=model, tokenizer=LyraTokenizer())("MKT")]
    ['M', 'K', 'T']
    ```
    """

    def postprocess(self, all_outputs: list[dict[str, Any]], **parameters: Any) -> list[dict[str, Any]]:
        (outputs,) = all_outputs
        if outputs.get("word_to_chars_map") is not None:
            raise ValueError("`is_split_into_words`: a sequence is one text")
        config, values = self.model.config, outputs["logits"][0].float()
        if config.problem_type == "multi_label_classification":
            values = values.sigmoid()
        spans = zip(outputs["offset_mapping"][0].tolist(), values.tolist(), strict=True)
        return [
            {
                "entity": config.id2label[label],
                "score": value,
                "index": index,
                "word": outputs["sentence"][start:end],
                "start": start,
                "end": end,
            }
            for index, ((start, end), residue) in enumerate(spans)
            if end > start  # not a pad
            for label, value in enumerate(residue)
        ]


def choose_pipelines(config: LyraConfig, per_token: bool) -> None:
    """Names the pipelines in a head's config, so that `transformers.pipeline` takes ours where its own would be wrong:
    from the checkpoint's code, with `trust_remote_code=True`, and refuses without."""
    others = {task: each for task, each in getattr(config, "custom_pipelines", {}).items() if task not in _OWN}
    ours = per_token and config.problem_type in ("regression", "multi_label_classification")
    if chosen := others | (_OWN if ours else {}):
        config.custom_pipelines = chosen
    elif hasattr(config, "custom_pipelines"):  # of a checkpoint with another head
        del config.custom_pipelines


__all__ = ["LyraTokenPipeline"]
