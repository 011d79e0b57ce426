"""A small server that speaks the Hub's HTTP API as far as huggingface_hub's client uses it for models and Spaces.

Repositories live in memory; the name of a Space begins with `spaces/`. `TOKENS` says who may do what; a repository
whose name starts with `broken-` answers every commit with an error of the server.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKENS = {"hf_ann": ("ann", "write"), "hf_reader": ("ann", "read"), "hf_bob": ("bob", "write")}


class Repository:
    def __init__(self, owner, private):
        self.owner, self.private = owner, private
        self.commits = [("0" * 40, {})]  # SHA and the files after it: content, and whether LFS keeps it

    def at(self, revision):
        if revision in ("main", "HEAD"):
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


class Hub(ThreadingHTTPServer):
    """Use as a context manager; `url` is the endpoint, `log` has method and path of each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories, self.large, self.log = {}, {}, []
        self.cut_uploads = 0  # so many uploads of large files end in the middle

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer("GET")

    do_HEAD = lambda self: self.answer("HEAD")  # noqa: E731
    do_POST = lambda self: self.answer("POST")  # noqa: E731
    do_PUT = lambda self: self.answer("PUT")  # noqa: E731

    def answer(self, method):
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((method, path))
        cut = path.startswith("/large/") and self.server.cut_uploads > 0
        if cut:
            self.server.cut_uploads -= 1
            self.rfile.read(10)
            self.close_connection = True
            return None
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user, self.role = TOKENS.get(token, (None, None))
        for pattern, handle in ROUTES:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return handle(self, *match.groups())
        return self.send(404, {"error": f"no such page: {method} {path}"})

    def send(self, status, content=b"", headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def may_write(self, owner):
        if self.user is None:
            self.send(401, {"error": "Invalid username or password."})
        elif self.role != "write" or self.user != owner:
            self.send(403, {"error": f"You don't have the rights to write to {owner}."})
        else:
            return True
        return False

    def find(self, name):
        found = self.server.repositories.get(name)
        if found is None or (found.private and found.owner != self.user):
            self.send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def whoami(self):
        if self.user is None:
            return self.send(401, {"error": "Invalid credentials in Authorization header"})
        return self.send(200, {"type": "user", "name": self.user, "auth": {"accessToken": {"role": self.role}}})

    def create(self):
        wanted = json.loads(self.body)
        owner = wanted.get("organization") or self.user
        if not self.may_write(owner):
            return None
        name = f"{owner}/{wanted['name']}"
        if (kind := wanted.get("type", "model")) == "space" and not wanted.get("sdk"):
            return self.send(400, {"error": "a Space needs an SDK"})
        name = f"spaces/{name}" if kind == "space" else name
        if name in self.server.repositories:
            return self.send(409, {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"})
        found = self.server.repositories[name] = Repository(owner, wanted.get("visibility") == "private")
        if kind == "space":  # the Hub writes a first card
            found.commits.append(("f" * 40, {"README.md": (b"---\nsdk: gradio\n---\n", False)}))
        return self.send(200, {"url": f"{self.server.url}/{name}", "name": name})

    def info(self, name, revision="main"):
        if (found := self.find(name)) is None:
            return None
        if (commit := found.at(revision)) is None:
            return self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": file} for file in commit[1]]
        values = {"id": name, "modelId": name, "sha": commit[0], "private": found.private, "siblings": siblings}
        return self.send(200, values | {"tags": [], "downloads": 0, "likes": 0})

    def tree(self, name, revision, folder=""):
        if (found := self.find(name)) is None:
            return None
        _, files = found.at(revision)
        inside = folder.strip("/")
        if inside and not any(file.startswith(f"{inside}/") for file in files):
            return self.send(404, {"error": f"{inside} does not exist"}, {"X-Error-Code": "EntryNotFound"})
        listed = [
            {"type": "file", "path": file, "size": len(content), "oid": blob_id(content)}
            | ({"lfs": {"oid": sha256(content), "size": len(content), "pointerSize": 100}} if large else {})
            for file, (content, large) in files.items()
            if file.startswith(inside)
        ]
        return self.send(200, listed)

    def preupload(self, name, revision):
        if (found := self.find(name)) is None or not self.may_write(found.owner):
            return None
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(self.body)["files"]
        ]
        return self.send(200, {"files": modes})

    def batch(self, name):
        if (found := self.find(name)) is None or not self.may_write(found.owner):
            return None
        objects = []
        for each in json.loads(self.body)["objects"]:
            actions = {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}
            objects.append(each if each["oid"] in self.server.large else each | {"actions": actions})
        return self.send(200, {"transfer": "basic", "objects": objects})

    def put(self, oid):
        if sha256(self.body) != oid:
            return self.send(400, {"error": "the content has another SHA-256"})
        self.server.large[oid] = self.body
        return self.send(200)

    def yaml(self):
        import yaml

        head = json.loads(self.body)["content"].split("---")[1]
        try:
            yaml.safe_load(head)
        except yaml.YAMLError as error:
            return self.send(400, {"errors": [{"message": str(error)}], "warnings": []})
        return self.send(200, {"errors": [], "warnings": []})

    def commit(self, name, revision):
        if (found := self.find(name)) is None or not self.may_write(found.owner):
            return None
        if name.partition("/")[2].startswith("broken-"):
            return self.send(500, {"error": "Internal Server Error"})
        files = dict(found.at(revision)[1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = (base64.b64decode(value["content"]), False)
            elif line["key"] == "lfsFile":
                files[value["path"]] = (self.server.large[value["oid"]], True)
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        sha = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        found.commits.append((sha, files))
        url = f"{self.server.url}/{name}/commit/{sha}"
        return self.send(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def resolve(self, name, revision, file):
        if (found := self.find(name)) is None:
            return None
        if (commit := found.at(revision)) is None:
            return self.send(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        sha, files = commit
        if file not in files:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}
            return self.send(404, {"error": "Entry not found"}, headers)
        content, large = files[file]
        etag = sha256(content) if large else blob_id(content)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if large:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(match.group(1))
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self.send(206, content[start:], headers)
        return self.send(200, content, headers)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def blob_id(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


NAME = r"((?:spaces/)?[^/]+/[^/]+)"
API = r"/api/(?:models/|(?=spaces/))" + NAME  # of a Space, `spaces/` is part of the name
ROUTES = [
    (r"GET /api/whoami-v2", Handler.whoami),
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.yaml),
    (rf"POST {API}/preupload/([^/]+)", Handler.preupload),
    (rf"POST {API}/commit/([^/]+)", Handler.commit),
    (rf"GET {API}/tree/([^/]+)(/.*)?", lambda self, *parts: self.tree(*filter(None, parts))),
    (rf"GET {API}/revision/([^/]+)", Handler.info),
    (rf"GET {API}", Handler.info),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /large/([0-9a-f]+)", Handler.put),
    (rf"(?:GET|HEAD) /{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
]
