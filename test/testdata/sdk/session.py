"""A day in the life of docker-py: everything it offers that needs no registry, against the engine of DOCKER_HOST."""
import io
import socket
import tarfile
import threading
import time

import docker
from docker import errors, types

c = docker.from_env()
assert c.ping()
version = c.version()
assert version["ApiVersion"] and version["Os"] == "linux", version
info = c.info()
assert info["ContainersRunning"] == 0 and info["Driver"], info
assert {"Images", "ImageUsage"} & set(c.df())

# Images
image = c.images.get("busybox")
assert "busybox:latest" in image.tags, image.tags
assert image.attrs["Architecture"] and image.short_id.startswith("sha256:")
assert image.tag("sdk/one", "1")
assert c.images.get("sdk/one:1").id == image.id
assert any(h.get("CreatedBy") for h in image.history())
archive = b"".join(image.save(named=True))
c.images.remove("sdk/one:1")
loaded = c.images.load(archive)
assert loaded[0].id == image.id, loaded
assert [i for i in c.images.list(filters={"reference": "busybox"})]
try:
    c.images.get("nosuch:1")
    raise AssertionError("an image that is not there was found")
except errors.ImageNotFound:
    pass

# Running to the end
assert c.containers.run("busybox", "echo hi", remove=True) == b"hi\n"
both = c.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True, remove=True)
assert sorted(both.splitlines()) == [b"err", b"out"], both
try:
    c.containers.run("busybox", "sh -c 'echo bad >&2; exit 3'", remove=True)
    raise AssertionError("status 3 is no error")
except errors.ContainerError as e:
    assert e.exit_status == 3 and b"bad" in e.stderr, e
try:
    c.containers.run("busybox", "nosuchcommand", remove=True)
    raise AssertionError("a command that is not there ran")
except errors.APIError as e:
    assert e.status_code in (400, 404, 500), e

# A long life
events = []
stream = c.events(decode=True)
threading.Thread(target=lambda: [events.append(e) for e in stream], daemon=True).start()
net = c.networks.create("sdk-net", labels={"a": "b"}, ipam=types.IPAMConfig(pool_configs=[types.IPAMPool(subnet=SUBNET)]) if (SUBNET := __import__("os").environ.get("SUBNET")) else None)
vol = c.volumes.create("sdk-vol", labels={"v": "1"})
box = c.containers.run(
    "busybox", ["sh", "-c", "echo started; trap 'exit 7' TERM; while :; do sleep .1; done"], name="sdk-box", detach=True, network="sdk-net",
    environment={"A": "1"}, labels=["l"], mounts=[types.Mount("/data", "sdk-vol")], tmpfs={"/scratch": "size=1m"},
    mem_limit="64m", nano_cpus=500_000_000, pids_limit=50, ports={"80/tcp": None}, hostname="boxhost", working_dir="/tmp", init=True,
    ulimits=[types.Ulimit(name="nofile", soft=100, hard=200)], cap_add=["NET_ADMIN"], restart_policy={"Name": "no"},
    healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000}, extra_hosts={"h": "1.2.3.4"}, stop_signal="TERM", read_only=False,
    log_config=types.LogConfig(type=types.LogConfig.types.JSON, config={"max-size": "1m"}),
)
box.reload()
assert box.status == "running" and box.image.id == image.id
assert box.attrs["HostConfig"]["Memory"] == 64 << 20
assert box.ports["80/tcp"][0]["HostPort"]
for _ in range(100):
    if box.logs() == b"started\n":
        break
    time.sleep(0.1)
assert box.logs(stdout=True, stderr=False, tail=1) == b"started\n"
assert box.logs(timestamps=True).split(b" ")[0].endswith(b"Z")
# What comes with the head of an answer this library loses: the commands speak a moment later.
code, out = box.exec_run(["sh", "-c", "sleep 1; echo $A; hostname; ulimit -n; cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"])
assert code == 0 and out.split() == [b"1", b"boxhost", b"100", b"67108864"], (code, out)
code, (out, err) = box.exec_run(["sh", "-c", "sleep 1; echo o; echo e >&2; exit 4"], demux=True)
assert (code, out, err) == (4, b"o\n", b"e\n")
code, lines = box.exec_run(["sh", "-c", "sleep 1; seq 3"], stream=True)
assert b"".join(lines) == b"1\n2\n3\n"
_, sock = box.exec_run("cat", stdin=True, socket=True)
raw = sock._sock
raw.sendall(b"to and fro\n")
raw.shutdown(socket.SHUT_WR)
got = b""
while chunk := raw.recv(4096):
    got += chunk
assert got.endswith(b"to and fro\n"), got

data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as t:
    entry = tarfile.TarInfo("hello")
    entry.size = 5
    t.addfile(entry, io.BytesIO(b"world"))
assert box.put_archive("/data", data.getvalue())
bits, stat = box.get_archive("/data/hello")
assert stat["name"] == "hello" and stat["size"] == 5, stat
with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as t:
    assert t.extractfile("hello").read() == b"world"
box.exec_run("touch /made")
assert {"Path": "/made", "Kind": 1} in box.diff()
assert any("sleep" in " ".join(p) or "sh" in " ".join(p) for p in box.top()["Processes"])
stats = box.stats(stream=False)
assert stats["memory_stats"]["limit"] == 64 << 20 and stats["pids_stats"]["current"] >= 1, stats
assert next(box.stats(decode=True))["name"] == "/sdk-box"
box.pause(); box.reload(); assert box.status == "paused"
box.unpause()
box.update(mem_limit="80m", memswap_limit="160m"); box.reload()
assert box.attrs["HostConfig"]["Memory"] == 80 << 20
box.rename("sdk-renamed")
assert c.containers.get("sdk-renamed").id == box.id
made = box.commit("sdk/committed", tag="1", message="m", author="a", changes=["ENV X=y"])
assert "X=y" in made.attrs["Config"]["Env"]
assert sum(len(b) for b in box.export()) > 100_000

# Networks
bridge = c.networks.get("bridge")
bridge.connect(box, aliases=["x"]) if False else bridge.connect(box)
box.reload(); assert set(box.attrs["NetworkSettings"]["Networks"]) == {"bridge", "sdk-net"}
bridge.disconnect(box)
net.reload(); assert net.containers == [box], net.containers
other = c.containers.run("busybox", "ping -c1 -W5 sdk-renamed", network="sdk-net", remove=True)
assert b"1 packets received" in other

# The end
assert [x.id for x in c.containers.list(filters={"label": "l"})] == [box.id]
waiting = []
waiter = threading.Thread(target=lambda: waiting.append(box.wait()))
waiter.start(); time.sleep(0.3)
box.stop(timeout=5)
waiter.join(10)
assert waiting[0]["StatusCode"] in (7, 143), waiting
box.start(); box.restart(timeout=1); box.kill(); box.wait()
try:
    net.remove() if c.containers.list() else None
except errors.APIError as e:
    assert e.status_code == 403, e
attached = c.containers.create("busybox", "cat", stdin_open=True, tty=False)
sock = attached.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
attached.start()
sock._sock.sendall(b"through\n"); sock._sock.shutdown(socket.SHUT_WR)
assert attached.wait()["StatusCode"] == 0 and attached.logs() == b"through\n"
attached.remove()
assert c.containers.prune()["ContainersDeleted"]
net.remove()
vol.remove()
assert c.volumes.prune(filters={"all": True}) is not None
assert c.networks.prune() is not None
c.images.remove("sdk/committed:1")
assert c.images.prune() is not None
wanted = {("container", "create"), ("container", "start"), ("container", "die"), ("network", "create"), ("volume", "create"), ("container", "rename"), ("container", "pause")}
for _ in range(100):
    seen = {(e["Type"], e["Action"]) for e in list(events)}
    if wanted <= seen:
        break
    time.sleep(0.1)
assert wanted <= seen, (wanted - seen, seen)
stream.close()
assert c.containers.list(all=True) == []
print("all is well")
