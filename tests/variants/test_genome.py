"""Variants in a genome: all spellings of one have one score, and what cannot be scored says why."""

import csv
import gzip

import numpy as np
import pytest
import torch

from lyra import LyraConfig, LyraForSequenceClassification, LyraTokenizer
from lyra.alphabet_lyra import get_alphabet
from lyra.cli import main
from lyra.inference import compute_logits, load_model
from lyra.variants.genome import Allele, Genome

pysam = pytest.importorskip("pysam")
RNG = np.random.default_rng(0)
LETTERS = "".join(RNG.choice(list("ACGT"), 200))
CONTIG = LETTERS[:100] + "CACACACA" + LETTERS[108:]
HEADER = '##fileformat=VCFv4.2\n##INFO=<ID=AF,Number=A,Type=Float,Description="x">\n'
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
WINDOW = ["--window", "30"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = "\n".join(CONTIG[i : i + 50] for i in range(0, len(CONTIG), 50))
    (tmp_path / "genome.fa").write_text(f">chr1 first\n{lines}\n>2\nACGTACGTAC\n")
    torch.manual_seed(0)
    config = LyraConfig(hidden_size=8, state_size=4, num_labels=1, alphabet="dna")
    LyraForSequenceClassification(config).save_pretrained("model")
    LyraTokenizer(alphabet="dna").save_pretrained("model")
    return tmp_path


def write_vcf(*rows, name="in.vcf"):
    with open(name, "w") as file:
        file.write(HEADER + COLUMNS)
        file.writelines("\t".join([str(cell) for cell in row] + [".", ".", "AF=0.1"]) + "\n" for row in rows)


def scan(output, *flags):
    return main(["scan", "model", "--vcf", "in.vcf", "--genome", "genome.fa", "-o", output, *WINDOW, *flags])


def read(file):
    with open(file, newline="") as lines:
        return list(csv.DictReader(lines))


def test_spellings_of_one_deletion(folder):
    """In a repeat the same deletion has many places, and more letters around it change nothing."""
    before = CONTIG[99]
    write_vcf(
        ("chr1", 100, ".", f"{before}CA", before),
        ("1", 101, ".", "CAC", "C"),
        ("chr1", 105, ".", "CAC", "C"),
        ("1", 100, ".", f"{before}CACACACA", f"{before}CACACA"),
        ("chr1", 95, ".", CONTIG[94:110], CONTIG[94:100] + CONTIG[102:110]),
    )
    assert scan("out.csv") == 0
    rows = read("out.csv")
    assert len(rows) == 5 and len({row["effect"] for row in rows}) == 1 and float(rows[0]["effect"]) != 0


def test_effects_are_those_of_the_sequences(folder):
    position = 60
    wild = CONTIG[position - 1]
    write_vcf(("chr1", position, "rs1", wild, "ACGT".replace(wild, "")[0] + f",{wild}TT"))
    model, tokenizer = load_model("model")
    first = position - 1 - 14
    reference = CONTIG[first : first + 30]
    changed = reference[:14] + "ACGT".replace(wild, "")[0] + reference[15:]
    longer = (CONTIG[first:position] + "TT" + CONTIG[position : position + 30])[:30]
    alphabet = get_alphabet("dna")

    def value(text, both=True):
        strands = [text, alphabet.reverse_complement(text)] if both else [text]
        return float(np.mean(compute_logits(model, tokenizer, strands).logits))

    assert scan("out.csv") == 0
    one, other = read("out.csv")
    assert float(one["effect"]) == pytest.approx(value(changed) - value(reference), abs=1e-5)
    assert (one["id"], one["alternative"]) == ("rs1", changed[14]) and other["reason"] == ""
    assert wild != "T"  # or the insertion would move to the left
    assert float(other["effect"]) == pytest.approx(value(longer) - value(reference), abs=1e-5)
    assert scan("forward.csv", "--strand", "forward") == 0
    expected = value(changed, both=False) - value(reference, both=False)
    assert float(read("forward.csv")[0]["effect"]) == pytest.approx(expected, abs=1e-5)


def test_vcf_in_and_out(folder):
    wild = CONTIG[59]
    write_vcf(
        ("chr1", 60, "rs1", wild, "A,C,G,T,<DEL>"),
        ("chr9", 3, ".", "A", "C"),
        ("chr1", 60, ".", "A" if wild != "A" else "C", "G"),
        ("chr2", 3, ".", "G", "T"),
        ("chr1", 9000, ".", "G", "T"),
        ("chr1", 60, ".", CONTIG[59:99], "T"),
    )
    assert scan("out.vcf") == 0
    records = list(pysam.VariantFile("out.vcf"))
    assert [record.pos for record in records] == [60, 3, 60, 3, 9000, 60] and records[0].id == "rs1"
    effects = records[0].info["LYRA_EFFECT"]
    assert effects["ACGT".index(wild)] == 0 and effects[4] is None
    assert records[0].info["LYRA_REASON"] == (".",) * 4 + ("not_an_allele_of_letters",)
    reasons = [record.info["LYRA_REASON"][0] if "LYRA_REASON" in record.info else "" for record in records[1:]]
    assert reasons[0] == "the_genome_has_no_contig_chr9" and reasons[1] == f"the_genome_has_{wild}_there"
    assert reasons[2] == "" and reasons[3].startswith("outside") and reasons[4] == "longer_than_the_window_of_30"
    assert records[0].info["AF"] == pytest.approx((0.1,))
    with gzip.open("in.vcf.gz", "wt") as file:
        file.write((folder / "in.vcf").read_text())
    command = ["scan", "model", "--vcf", "in.vcf.gz", "--genome", "genome.fa", "-o", "again.vcf", *WINDOW]
    assert main(command) == 0 and (folder / "again.vcf").read_text() == (folder / "out.vcf").read_text()


def test_regions(folder):
    (folder / "in.bed").write_text("# x\nchr1\t10\t75\tenhancer\n2\t0\t10\n")
    command = ["scan", "model", "--bed", "in.bed", "--genome", "genome.fa", "-o", "out.csv", *WINDOW]
    assert main(command) == 0
    rows = read("out.csv")
    found = [(row["contig"], row["start"], row["end"], row["name"]) for row in rows]
    assert found[:3] == [
        ("chr1", "10", "40", "enhancer"),
        ("chr1", "40", "70", "enhancer"),
        ("chr1", "70", "100", "enhancer"),
    ]
    assert found[3] == ("2", "0", "30", "")


def test_normalization_at_the_ends(folder):
    genome = Genome("genome.fa")
    assert Allele("2", 0, "A", "TA").normalize(genome) == Allele("2", 0, "", "T")
    assert Allele("2", 9, "C", "CC").normalize(genome) == Allele("2", 9, "", "C")
    reference, alternative = Allele("2", 9, "C", "T").windows(genome, 9)
    assert (reference, alternative) == ("CGTAC" + "NNNN", "CGTAT" + "NNNN")
    assert Allele("2", 0, "A", "T").windows(genome, 5)[0] == "NNACG"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--vcf", "in.vcf"], "--vcf: the genome is missing, as in --genome genome.fa"),
        (["--genome", "genome.fa"], "--genome: expected variants by --vcf or regions by --bed, one of them"),
        (["wt.fa", "--vcf", "in.vcf", "--genome", "genome.fa"], "--vcf: takes no wild type, got wt.fa"),
        (["--vcf", "in.vcf", "--genome", "genome.fa", "--pairs"], "--pairs: not with --vcf"),
        (["--vcf", "in.vcf", "--genome", "genome.fa"], "--window N: the model reads any length"),
        (["--vcf", "in.vcf", "--genome", "none.fa", *WINDOW], "none.fa: no such file"),
        (
            ["--vcf", "in.vcf", "--genome", "zipped.fa.gz", *WINDOW],
            "zipped.fa.gz: not a FASTA file that can be indexed",
        ),
        (["--vcf", "in.vcf", "--genome", "ragged.fa", *WINDOW], "ragged.fa: not a FASTA file that can be indexed"),
        (["--vcf", "bad.vcf", "--genome", "genome.fa", *WINDOW], "bad.vcf, record 2: not readable as VCF"),
        (["--vcf", "text.vcf", "--genome", "genome.fa", *WINDOW], "text.vcf, the header: not readable as VCF"),
        (["--bed", "bad.bed", "--genome", "genome.fa", *WINDOW], "bad.bed, line 1: expected contig, start and end"),
        (["--bed", "far.bed", "--genome", "genome.fa", *WINDOW], "far.bed, line 1: chr1 has 200 letters, the region"),
        (["--bed", "other.bed", "--genome", "genome.fa", *WINDOW], "other.bed, line 1: genome.fa has no contig 7"),
        ([], "the wild type is missing"),
    ],
)
def test_one_line_for_bad_input(folder, capsys, flags, said):
    write_vcf(("chr1", 60, ".", CONTIG[59], "A"))
    (folder / "bad.vcf").write_text(
        f"{HEADER}{COLUMNS}chr1\t5\t.\t{CONTIG[4]}\tA\t.\t.\t.\nchr1\tx\t.\tA\tC\t.\t.\t.\n"
    )
    (folder / "text.vcf").write_text("hello\n")
    (folder / "bad.bed").write_text("chr1\t10\n")
    (folder / "far.bed").write_text("chr1\t10\t1000\n")
    (folder / "other.bed").write_text("7\t10\t20\n")
    (folder / "ragged.fa").write_text(">a\nACG\nACGTAC\nAC\nACGT\n")
    with gzip.open("zipped.fa.gz", "wt") as file:
        file.write((folder / "genome.fa").read_text())
    assert main(["scan", "model", *flags, "-o", "out.csv"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"lyra scan: error: {said}")
    assert not (folder / "out.csv").exists()


def test_proteins_have_no_other_strand(folder, capsys):
    LyraForSequenceClassification(LyraConfig(hidden_size=8, state_size=4, num_labels=1)).save_pretrained("protein")
    LyraTokenizer().save_pretrained("protein")
    write_vcf(("chr1", 60, ".", CONTIG[59], "A"))
    assert main(["scan", "protein", "--vcf", "in.vcf", "--genome", "genome.fa", "-o", "out.csv", *WINDOW]) == 2
    assert "need a model of whole sequences of nucleotides" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no complements"):
        get_alphabet("protein").reverse_complement("MK")
    assert get_alphabet("rna").reverse_complement("acguRN") == "NYACGU"
    assert get_alphabet("dna").reverse_complement("AACGTB") == "VACGTT"
