"""Builds as docker-py offers them, against the engine of DOCKER_HOST."""
import io
import tarfile

import docker
from docker import errors

c = docker.from_env()


def archive(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as t:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            t.addfile(member, io.BytesIO(text.encode()))
    out.seek(0)
    return out


# A Dockerfile alone, through the high-level call, which finds the image by "Successfully built".
image, log = c.images.build(fileobj=io.BytesIO(b"FROM busybox\nARG A\nRUN echo a is $A >/a\nLABEL x=y\n"), tag="sdk:1", buildargs={"A": "7"}, rm=True)
assert "sdk:1" in image.tags, image.tags
assert image.labels == {"x": "y"}, image.labels
lines = "".join(line.get("stream", "") for line in log)
assert "Step 1/4 : FROM busybox" in lines and "Successfully tagged sdk:1" in lines, lines
assert c.containers.run("sdk:1", ["cat", "/a"], remove=True) == b"a is 7\n"

# An archive, with everything the call takes.
image, log = c.images.build(
    fileobj=archive(D="FROM busybox AS one\nCOPY f /f\nFROM one AS two\nRUN false\n", f="hello\n"), custom_context=True, encoding="gzip", dockerfile="D",
    target="one", nocache=True, pull=False, labels={"k": "v"}, forcerm=True, network_mode="none", shmsize=32 << 20, extra_hosts={"h": "10.1.2.3"},
    container_limits={"memory": 64 << 20, "cpushares": 512}, cache_from=["busybox"], squash=False, quiet=False,
)
assert image.labels["k"] == "v" and c.containers.run(image.id, ["cat", "/f"], remove=True) == b"hello\n"

# The low-level stream.
messages = list(c.api.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo said\n"), tag="sdk:2", decode=True))
assert any(m.get("aux", {}).get("ID", "").startswith("sha256:") for m in messages), messages
assert any(m.get("stream") == "said\n" for m in messages), messages

# Failures.
try:
    c.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 5\n"))
    raise AssertionError("a command that fails is no failure")
except errors.BuildError as e:
    assert "returned a non-zero code: 5" in e.msg, e.msg
    last = [m for m in e.build_log if "errorDetail" in m]
    assert last[0]["errorDetail"]["code"] == 5, last
try:
    c.images.build(fileobj=io.BytesIO(b"NOPE\n"))
    raise AssertionError("no Dockerfile was taken for one")
except (errors.BuildError, errors.APIError) as e:
    assert "unknown instruction" in str(e), e

assert c.api.prune_builds()["SpaceReclaimed"] >= 0
print("docker-py", docker.__version__, "is well")
