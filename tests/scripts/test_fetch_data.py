"""`scripts/tools/fetch_data.py` against a server on the loopback: the recorded table, or one line and no file."""

import functools
import gzip
import hashlib
import io
import re
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fetch_data
import pytest
from fetch_data import SOURCES, Source, main

PATH = "lab/letters@" + "0" * 40 + "/data/train set（1）.csv"
ORIGINAL = b"seq,score\nACGT,1\nGGCC,0.50\n"
TABLE = b"sequence,label,split\r\nACGT,1,train\r\nGGCC,0.50,train\r\n"


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files` by their unquoted paths, counts requests and can close the connection after `limit` bytes."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.limit = files, 0, None
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests += 1
        content = self.server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A task `letters` with one file, which the server has."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "letters.yaml").write_text("data: letters.csv.gz\n")
    (tmp_path / "tasks" / "unrecorded.yaml").write_text("data: unrecorded.csv.gz\n")
    convert = functools.partial(fetch_data.convert_splits, splits=("train",))
    source = Source({PATH: sha256(ORIGINAL)}, convert, sha256(TABLE), "MIT")
    monkeypatch.setattr(fetch_data, "TASKS", tmp_path / "tasks")
    monkeypatch.setattr(fetch_data, "SOURCES", {"letters.csv.gz": source})
    server = Server({fetch_data.file_url(PATH, ""): ORIGINAL})
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def change(**fields):
    """Alters the only source."""
    source = fetch_data.SOURCES["letters.csv.gz"]
    fetch_data.SOURCES["letters.csv.gz"] = Source(**{**vars(source), **fields})


def test_a_table_is_written_once(server, tmp_path, capsys):
    out = tmp_path / "new" / "data"
    argv = ["letters", "--output_dir", str(out), "--base_url", server.url]
    assert main(argv) == 0
    assert [file.name for file in out.iterdir()] == ["letters.csv.gz"]
    assert gzip.decompress((out / "letters.csv.gz").read_bytes()) == TABLE
    written = (out / "letters.csv.gz").stat()
    assert main(["letters", *argv]) == 0
    assert "already there" in capsys.readouterr().out
    assert server.requests == 1 and (out / "letters.csv.gz").stat() == written


def test_list_needs_no_network(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(fetch_data.task_tables())
    assert all("/" in line for line in lines)


def no_file(server):
    server.files.clear()
    return "HTTP Error 404"


def other_download(server):
    server.files[fetch_data.file_url(PATH, "")] += b"TTTT,0\n"
    return f"expected {sha256(ORIGINAL)}"


def download_cut_short(server):
    server.limit = 12
    return f"expected {sha256(ORIGINAL)}"


def other_rows(server):
    change(sha256=sha256(b""))
    return f"letters.csv.gz: the converted rows have SHA-256 {sha256(TABLE)}, expected {sha256(b'')}"


def second_file_missing(server):
    change(files={PATH: sha256(ORIGINAL), "lab/letters@1/second.csv": sha256(b"")})
    return "lab/letters/1/second.csv: cannot be downloaded"


@pytest.mark.parametrize("fault", [no_file, other_download, download_cut_short, other_rows, second_file_missing])
def test_a_fault_is_one_line_and_no_file(server, tmp_path, capsys, fault):
    expected = fault(server)
    assert main(["letters", "--output_dir", str(tmp_path / "data"), "--base_url", server.url]) == 2
    assert expected in one_error(capsys)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["letters", "--base_url", "http://127.0.0.1:1"], "Connection refused"),
        (["letters", "--base_url", "nowhere"], "nowhere/lab/letters"),
        (["letters", "nope"], "expected a task among letters, unrecorded, got 'nope'"),
        (["unrecorded"], "SOURCES has no entry for unrecorded.csv.gz"),
        ([], "expected a TASK or --list"),
    ],
)
def test_bad_arguments_are_one_line_and_no_file(server, tmp_path, capsys, argv, expected):
    assert main(["--output_dir", str(tmp_path / "data"), "--base_url", server.url, *argv]) == 2
    assert expected in one_error(capsys)
    assert server.requests == 0 and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"sequence,label,split\r\n"), gzip.compress(TABLE)[:-9], b"no gzip"],
    ids=["another table", "cut off", "no gzip"],  # gzip holds the time, and every worker must have the same ids
)
def test_another_file_of_the_name_is_kept(server, tmp_path, capsys, content):
    (tmp_path / "letters.csv.gz").write_bytes(content)
    assert main(["letters", "--output_dir", str(tmp_path), "--base_url", server.url]) == 2
    assert "letters.csv.gz" in (line := one_error(capsys)) and "remove it" in line
    assert server.requests == 0 and (tmp_path / "letters.csv.gz").read_bytes() == content


def test_the_folder_is_a_file(server, tmp_path, capsys):
    (tmp_path / "data").write_text("mine")
    assert main(["letters", "--output_dir", str(tmp_path / "data"), "--base_url", server.url]) == 2
    assert "cannot be written" in one_error(capsys) and (tmp_path / "data").read_text() == "mine"


def one_error(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fetch_data.py: error: ")
    return line


# ── The sources ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_task_has_a_source_at_a_fixed_commit():
    assert set(fetch_data.task_tables().values()) == set(SOURCES)
    for source in SOURCES.values():
        for path, checksum in source.files.items():
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}/.+", path)
            assert re.fullmatch("[0-9a-f]{64}", checksum)


@pytest.mark.parametrize("table", SOURCES)
def test_the_recorded_content_is_that_of_our_table(real_data, table):
    content = gzip.decompress(real_data(table).read_bytes())
    assert sha256(content) == SOURCES[table].sha256
    assert content.splitlines()[0].decode().split(",") == [*fetch_data.COLUMNS, *SOURCES[table].extras]


def archive(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, text in members.items():
            opened.writestr(name, text)
    return file.getvalue()


GB1 = "A" * 39 + "{}A" + "A" * 11 + "{}" + "A"
DISOFLAG = ">P1\nACD\n" + "".join(f"{i:03b}\n" for i in range(7))


@pytest.mark.parametrize(
    "table, contents, rows",
    [
        (
            "gfp_relso",
            [
                b"aaMutations\tuniqueBarcodes\tmedianBrightness\tstd\n\t9\t3.5\t0.1\n"
                b"SA1D:SC2*\t1\t2.71828182846\t\nSA1G\t1\t2.0\t\n",
                b"MAC,3.5\nMAC,3.5\nMGC,2.0\n",
            ],
            ["MDX,2.7182818284599994,train", "MAC,3.5,test", "MAC,3.5,test", "MGC,2.0,test"],
        ),
        (
            "gb1_wu_relso",
            [
                archive({"four_mutations_full_data.csv": "Variants,Fitness\nVDGV,1.0\nWWWY,0.50\n"}),
                (GB1.format("VDG", "V") + ",1.0\n").encode(),
            ],
            [GB1.format("WWW", "Y") + ",0.50,train", GB1.format("VDG", "V") + ",1.0,test"],
        ),
        ("gifford_relso", [b"CDR3,enrichment\nJA,-1.0\n", b"CDR3,enrichment\nJC,2\n"], ["JA,-1.0,train", "JC,2,test"]),
        (
            "flip_gb1_two_vs_rest",
            [
                archive(
                    {"splits/two_vs_rest.csv": "sequence,target,set,validation\nA,1,train,\nC,2,train,True\nD,3,test,"}
                )
            ],
            ["A,1,train", "C,2,validation", "D,3,test"],
        ),
        (
            "flip_secondary_structure",
            [
                archive(
                    {
                        "splits/sequences.fasta": ">a\nAC\nD\n>b\nEF\n",
                        "splits/sampled.fasta": ">a SET=train VALIDATION=True\nHHC\n>b SET=test VALIDATION=False\nCE\n",
                        "splits/mask.fasta": ">a\n011\n>b\n11\n",
                    }
                )
            ],
            ["ACD,HHC,validation,011", "EF,CE,test,11"],
        ),
        (
            "mavenn_mpsa",
            [gzip.compress(b"set,tot_ct,ex_ct,y,x\ntraining,28,2,0.02,GGU\ntest,3,1,1,AGU\n")],
            ["GGU,0.02,train,28,2", "AGU,1,test,3,1"],
        ),
        ("cas9_deephf_wt", [b"sgRNA,indel\r\nACG,0.1\r\n"], ["ACG,0.1,"]),
        (
            "cas13a_adapt_median",
            [
                gzip.compress(
                    b"guide_seq\tguide_pos_nt\ttarget_at_guide\ttarget_before\ttarget_after\tcrrna_block\ttype\t"
                    b"guide_target_hamming_dist\tout_logk_measurement\nGG\t7\tGC\tA\tT\t10\texp\t1\t-1.5\n"
                )
            ],
            ["AGCT,-1.5,,GG,7,exp,1,10"],
        ),
        ("cpp_cppredfl", [b">Seq_1\nRR\n>Seq_2\nKK\n", b"0\n1\n"], ["RR,0,", "KK,1,"]),
        ("cpp_deepcpp", [b">neg1\nNR\n", b">pos1\nKF\n"], ["NR,0,train", "KF,1,test"]),
        (
            "gue_prom_core_all",
            [b"sequence,label\nA,0\n", b"sequence,label\nC,1\n", b"sequence,label\nG,0\n"],
            ["A,0,train", "C,1,validation", "G,0,test"],
        ),
        (
            "ncrna_family_13",
            [b">a tRNA\nAC\nG\n", b">b tRNA\nT\n", b">c 5S_rRNA\r\nGG\r\nA\r\n"],
            ["ACG,tRNA,train,a", "T,tRNA,validation,b", "GGA,5S_rRNA,test,c"],
        ),
        (
            "disoflag",
            [DISOFLAG.encode()] * 4,
            [
                f"ACD,000,{split},000,001,010,011,100,101,110,{subset},P1"
                for subset, split in [("train", "train"), ("dev", "validation"), ("DP94", "test"), ("DP93", "test")]
            ],
        ),
    ],
)
def test_converters(tmp_path, table, contents, rows):
    """On files of the sources' formats, made up."""
    paths = []
    for i, content in enumerate(contents):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(content)
    source = SOURCES[f"{table}.csv.gz"]
    lines = fetch_data.to_csv(source.convert(*paths), source.extras).decode().split("\r\n")
    assert lines[1:] == [*rows, ""]
    assert len(contents) == len(source.files) and len(lines[0].split(",")) == len(rows[0].split(","))
