"""What transformers, PEFT, accelerate and the compiler do with a model works unchanged."""

import shutil

import peft
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, pipeline

from lyra import (
    LyraForMaskedLM,
    LyraForSequenceClassification,
    LyraForTokenClassification,
    LyraModel,
    LyraTokenizer,
    LyraTokenPipeline,
)


def saved(model, folder):
    model.save_pretrained(folder)
    LyraTokenizer(model.config.alphabet).save_pretrained(folder)
    return str(folder)


def test_text_classification_pipeline(tiny, tmp_path):
    regression = LyraForSequenceClassification(tiny(num_labels=1, label_mean=50.0, label_std=10.0)).eval()
    classify = pipeline("text-classification", model=saved(regression, tmp_path))
    ids = LyraTokenizer()("MKTA", return_tensors="pt")
    assert classify("mkta")[0]["score"] == pytest.approx(regression(**ids).logits.item(), rel=1e-5)
    batch = classify(["MKTA", "MKTAYIAKQR", "M"], batch_size=3)
    assert batch[0]["score"] == pytest.approx(classify("MKTA")[0]["score"], rel=1e-4)


def test_classes_pipeline(tiny, tmp_path):
    config = tiny(num_labels=2, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1})
    classify = pipeline("text-classification", model=saved(LyraForSequenceClassification(config), tmp_path), top_k=None)
    scores = {entry["label"]: entry["score"] for entry in classify(["MKTA"])[0]}
    assert set(scores) == {"no", "yes"} and sum(scores.values()) == pytest.approx(1)


def test_token_classification_pipeline(tiny, tmp_path):
    config = tiny(num_labels=3, id2label={0: "H", 1: "E", 2: "C"}, label2id={"H": 0, "E": 1, "C": 2})
    label = pipeline(
        "token-classification", model=saved(LyraForTokenClassification(config), tmp_path), ignore_labels=[]
    )
    entries = label("mk TA")
    assert [(e["word"], e["start"], e["end"]) for e in entries] == [("M", 0, 1), ("K", 1, 2), ("T", 3, 4), ("A", 4, 5)]


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_values_per_residue_pipeline(tiny, tmp_path, problem):
    model = LyraForTokenClassification(tiny(num_labels=2, problem_type=problem, bidirectional=True)).eval()
    folder = saved(model, tmp_path)
    values = model(**LyraTokenizer()("MKT", return_tensors="pt")).logits[0]
    values = values if problem == "regression" else values.sigmoid()
    with pytest.raises(ValueError, match="trust_remote_code"):
        pipeline("token-classification", model=folder)
    for label in (
        pipeline("token-classification", model=folder, trust_remote_code=True),
        LyraTokenPipeline(model=model, tokenizer=LyraTokenizer()),
    ):
        found = label("mk t")
        assert [each["score"] for each in found] == pytest.approx(values.flatten().tolist(), rel=1e-4)
        assert [(each["word"], each["start"], each["entity"]) for each in found] == [
            (letter, start, f"LABEL_{output}") for letter, start in (("m", 0), ("k", 1), ("t", 3)) for output in (0, 1)
        ]
        assert len(label(["MKT", "MA"], batch_size=2)[1]) == 4
        with pytest.raises(ValueError, match="is_split_into_words"):
            label(["MKT", "A"], is_split_into_words=True)


def test_a_head_for_classes_has_no_pipeline_of_its_own(tiny, tmp_path):
    folder = saved(LyraForTokenClassification(tiny(num_labels=1)), tmp_path)
    assert "custom_pipelines" in LyraForTokenClassification.from_pretrained(folder).config.to_dict()
    classes = LyraForTokenClassification.from_pretrained(folder, num_labels=3, ignore_mismatched_sizes=True)
    assert "custom_pipelines" not in classes.config.to_dict()
    config = tiny(num_labels=3)
    config.custom_pipelines = {"mine": {}}
    assert LyraForSequenceClassification(config).config.custom_pipelines == {"mine": {}}


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification", "single_label_classification"])
def test_text_classification_pipeline_of_several_outputs(tiny, tmp_path, problem):
    model = LyraForSequenceClassification(tiny(num_labels=3, problem_type=problem)).eval()
    logits = model(**LyraTokenizer()("MKTA", return_tensors="pt")).logits[0]
    activate = {"regression": lambda x: x, "multi_label_classification": torch.sigmoid}
    values = activate.get(problem, lambda x: x.softmax(0))(logits)
    classify = pipeline("text-classification", model=saved(model, tmp_path), top_k=None)
    found = {each["label"]: each["score"] for each in classify(["MKTA"])[0]}
    assert [found[f"LABEL_{i}"] for i in range(3)] == pytest.approx(values.tolist(), rel=1e-4)


@pytest.mark.parametrize("head", [LyraForSequenceClassification, LyraForTokenClassification, LyraForMaskedLM])
def test_the_bare_model_loads_from_every_head_without_complaint(tiny, tmp_path, head):
    model = head(tiny())
    bare, report = AutoModel.from_pretrained(saved(model, tmp_path), output_loading_info=True)
    assert not any(report.values())
    torch.testing.assert_close(bare.state_dict(), model.lyra.state_dict())


def test_pair_pipeline(tiny, tmp_path):
    model = LyraForSequenceClassification(tiny(alphabet="dna+dna", num_labels=1)).eval()
    model.save_pretrained(tmp_path)
    tokenizer = LyraTokenizer("dna+dna", pair_offset=1)
    tokenizer.save_pretrained(tmp_path)
    score = pipeline("text-classification", model=str(tmp_path))({"text": "ACGT", "text_pair": "CC"})["score"]
    assert score == pytest.approx(model(**tokenizer("ACGT", "CC", return_tensors="pt")).logits.item(), rel=1e-4)


def test_fill_mask_pipeline(tiny, tmp_path):
    fill = pipeline("fill-mask", model=saved(LyraForMaskedLM(tiny(bidirectional=True)), tmp_path))
    logits = fill.model(**LyraTokenizer()("MK<mask>A", return_tensors="pt")).logits[0, 2]
    assert [answer["token"] for answer in fill("MK<mask>A", top_k=3)] == logits.topk(3).indices.tolist()


def test_feature_extraction_pipeline(tiny, tmp_path):
    model = LyraForSequenceClassification(tiny()).eval()
    extract = pipeline("feature-extraction", model=saved(model, tmp_path), return_tensors=True)
    states = model.lyra(**LyraTokenizer()("MKTA", return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(extract("MKTA"), states)


def test_gradient_checkpointing_gives_the_same_gradients(tiny):
    ids, labels = torch.randint(3, 23, (3, 20)), torch.randn(3)
    model = LyraForSequenceClassification(tiny(num_labels=1, hidden_dropout_prob=0.3, num_hidden_layers=2)).train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable()
        torch.manual_seed(1)
        model.zero_grad()
        model(ids, labels=labels).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert model.is_gradient_checkpointing
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("bidirectional", [False, True])
def test_compile_full_graph_with_dynamic_length(tiny, bidirectional):
    torch.compiler.reset()
    model = LyraForSequenceClassification(tiny(num_labels=2, bidirectional=bidirectional)).eval()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (7, 64, 130):
        ids = torch.randint(0, 23, (3, length))
        torch.testing.assert_close(compiled(ids).logits, model(ids).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the inductor backend needs a C++ compiler")
def test_compile_with_inductor_trains(tiny):
    torch.compiler.reset()
    model = LyraForSequenceClassification(tiny(num_labels=1))
    ids, labels = torch.randint(3, 23, (2, 30)), torch.randn(2)
    expected = torch.autograd.grad(model(ids, labels=labels).loss, list(model.parameters()))
    actual = torch.autograd.grad(
        torch.compile(model, fullgraph=True)(ids, labels=labels).loss, list(model.parameters())
    )
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-3, atol=1e-5)


def test_export_with_dynamic_batch_and_length(tiny):
    model = LyraForTokenClassification(tiny(num_labels=2, bidirectional=True)).eval()
    inputs = {"input_ids": torch.randint(3, 23, (2, 11)), "attention_mask": torch.ones(2, 11).long()}
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    exported = torch.export.export(model, (), inputs, dynamic_shapes=dict.fromkeys(inputs, dynamic)).module()
    for batch, length in ((2, 3), (3, 64), (5, 237)):
        mask = (torch.rand(batch, length) < 0.8).long()
        other = {"input_ids": torch.randint(3, 23, (batch, length)), "attention_mask": mask}
        real = mask.bool()
        actual, expected = exported(**other).logits[real], model(**other).logits[real]
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains(tiny, dtype):
    model = LyraForSequenceClassification(tiny(num_labels=1))
    with torch.autocast("cpu", dtype=dtype):
        loss = model(torch.randint(3, 23, (2, 30)), labels=torch.randn(2)).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_lora(tiny, tmp_path):
    base = LyraForSequenceClassification(tiny(num_labels=1))
    folder = saved(base, tmp_path / "base")
    options = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["in_proj", "out_proj", "output_linear", "projection"]
    )
    model = peft.get_peft_model(base, options)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    ids = torch.randint(3, 23, (2, 12))
    for _ in range(2):
        model(input_ids=ids, labels=torch.randn(2)).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(folder), tmp_path / "adapter"
    )
    torch.testing.assert_close(again.eval()(input_ids=ids).logits, model(input_ids=ids).logits)
    merged = again.merge_and_unload()
    torch.testing.assert_close(merged(ids).logits, model(input_ids=ids).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device_map", ["auto", "cpu", {"": "cpu"}])
def test_device_map(tiny, tmp_path, device_map):
    model = LyraForSequenceClassification(tiny()).eval()
    loaded = AutoModelForSequenceClassification.from_pretrained(saved(model, tmp_path), device_map=device_map).eval()
    ids = torch.randint(3, 23, (2, 12))
    assert torch.equal(loaded(ids).logits, model(ids).logits)


def test_offloaded_layers(tiny, tmp_path):
    """Blocks dispatched one by one, with masks and buffers following them."""
    model = LyraModel(tiny(num_hidden_layers=2)).eval()
    model.save_pretrained(tmp_path / "model")
    device_map = {"embeddings": "cpu", "encoder.pgc": "cpu", "encoder.layers.0": "cpu", "encoder.layers.1": "disk"}
    loaded = LyraModel.from_pretrained(
        tmp_path / "model", device_map=device_map | {"encoder.final_norm": "cpu"}, offload_folder=tmp_path / "offload"
    )
    ids = torch.tensor([[3, 4, 5, 0]])
    torch.testing.assert_close(loaded(ids).pooler_output, model(ids).pooler_output)
