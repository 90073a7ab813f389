"""An empty hpcflow job: open a session, close it."""

import hpcflow as hf

with hf.Session(progress="off"):
    pass
