"""Every text that the code asks for stands in its file, and every text of a file is asked for."""

import re
from pathlib import Path

from sparkray.config.boundary import read_yaml
from sparkray.engines import trtllm
from sparkray.engines._trtllm import messages
from sparkray.engines._trtllm.double import versions

PACKAGE = Path(messages.__file__).parent
KEY = re.compile(r'"([a-z][a-z0-9_]*)"')


def keys(*files):
    return {key for path in files for key in KEY.findall(path.read_text())}


def called(function, *files):
    return {key for path in files for key in re.findall(rf'\b{function}\(\s*"(\w+)"', path.read_text())}


def test_messages_of_the_engine():
    files = (*PACKAGE.glob("*.py"), Path(trtllm.__file__))
    known = set(read_yaml(PACKAGE / "messages.yaml"))
    assert called("message", *files) | called("note", *files) <= known <= keys(*files)


def test_texts_of_the_simulated_tool():
    files = tuple((PACKAGE / "double").glob("*.py"))
    known = {name for name, _, _ in versions._texts()}
    assert called("text", *files) <= known <= keys(*files)
    assert versions.text("written", (1, 0), path="/x") == ""
    assert versions.text("written", (1, 4), path="/x") == "Report information written to /x."
