"""`pcn evaluate`: the scores of a tagger on labelled jets."""

import argparse

from lyra.command import quiet_loading

HELP = "score a tagger on files of labelled jets"
EXAMPLE = "pcn evaluate my_tagger test.root -o report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or Hub id of a trained tagger")
    parser.add_argument("files", nargs="+", metavar="FILE", help="ROOT, Parquet, HDF5 or NPZ files of labelled jets")
    parser.add_argument("-o", "--output", required=True, help="a new folder: metrics.json, report.md, rejection.png")
    parser.add_argument("--label_column", help="column of classes; default: columns label_NAME of zeros and ones")
    parser.add_argument("--background", help="class that others are told from; default: QCD, or else the first")
    parser.add_argument("--batch_size", type=int, default=256, help="jets computed together. Default: 256.")


def run(arguments: argparse.Namespace) -> None:
    quiet_loading()
    from lyra.files import file_sha256, made_folder, write_json, write_then_rename

    from ..inference import class_names, evaluate, load_model
    from ..metrics import report
    from ..outputs import check_output
    from ..plots import plot_rejection
    from ..training import choose_background

    output = check_output(arguments.output)
    model, extractor = load_model(arguments.model)
    names = class_names(model)
    background = choose_background(arguments.background, names)
    record, found, labels = evaluate(
        model, extractor, arguments.files, arguments.label_column, background, arguments.batch_size
    )
    record |= {"model": arguments.model, "data_sha256": file_sha256(arguments.files)}
    with made_folder(output):
        with write_then_rename(output / "rejection.png") as partial:
            plot_rejection(found, labels, names, background, partial)
        with write_then_rename(output / "report.md") as partial:
            partial.write_text(report(record), encoding="utf-8")
        write_json(output / "metrics.json", record)
    print(report(record))
    if record["particles_left_out"]:
        print(f"{record['particles_left_out']:,} particles beyond {extractor.max_particles} of a jet were left out")
    print(f"written: {output}")
