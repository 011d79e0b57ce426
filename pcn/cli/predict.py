"""`pcn predict`: the probabilities of the classes for every jet."""

import argparse

from lyra.command import quiet_loading

HELP = "predict the classes of jets"
EXAMPLE = "pcn predict my_tagger jets.root -o predictions.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or Hub id of a trained tagger")
    parser.add_argument("files", nargs="+", metavar="FILE", help="ROOT, Parquet, HDF5 or NPZ files of jets")
    parser.add_argument("-o", "--output", required=True, help="a new table: .csv, .tsv, .jsonl or .parquet")
    parser.add_argument("--batch_size", type=int, default=256, help="jets computed together. Default: 256.")


def run(arguments: argparse.Namespace) -> None:
    quiet_loading()
    from lyra.data.tables import TableWriter, output_format
    from lyra.files import write_then_rename

    from ..inference import class_names, load_model, predict
    from ..outputs import check_output, rows

    output = check_output(arguments.output)
    output_format(output)
    model, extractor = load_model(arguments.model)
    names, cut, number = class_names(model), 0, 0
    with write_then_rename(output) as partial, TableWriter(partial) as writer:
        for jets, flat, found in predict(model, extractor, arguments.files, arguments.batch_size):
            writer.write(rows(jets, found, names))
            cut, number = cut + int(flat.cut.sum()), number + len(jets)
    if cut:
        print(f"{cut:,} particles beyond {extractor.max_particles} of a jet were left out")
    print(f"written: {output}, {number:,} jets")
