"""Plays the roles of a distributed TensorFlow job: a parameter server keeps a number, workers add to it."""
import argparse
import json
import os
import socket
import socketserver
import time

parser = argparse.ArgumentParser()
parser.add_argument("--job_name", required=True)
parser.add_argument("--task_index", type=int, required=True)
parser.add_argument("--ps_hosts", required=True)
parser.add_argument("--worker_hosts", required=True)
args = parser.parse_args()
servers, workers = args.ps_hosts.split(","), args.worker_hosts.split(",")

config = json.loads(os.environ["TF_CONFIG"])
role, index = config["task"]["type"], config["task"]["index"]
assert index == args.task_index, config
assert (role == "ps") == (args.job_name == "ps"), config
assert config["cluster"]["ps"] == servers, config
assert [h for kind in ("master", "worker") for h in config["cluster"].get(kind, [])] == workers, config


class Parameter(socketserver.StreamRequestHandler):
    total = 0

    def handle(self):
        Parameter.total += int(self.rfile.readline())
        self.wfile.write(b"%d\n" % Parameter.total)


def add(number):
    """Adds to the parameter and returns it; the server may need a moment to start."""
    host, port = servers[0].split(":")
    for _ in range(300):
        try:
            with socket.create_connection((host, int(port)), timeout=5) as s:
                s.sendall(b"%d\n" % number)
                return int(s.makefile().readline())
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit(f"no parameter server at {servers[0]}")


if role == "ps":
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    socketserver.ThreadingTCPServer(("", int(servers[index].split(":")[1])), Parameter).serve_forever()

add(args.task_index + 1)
want = sum(range(1, len(workers) + 1))
while args.task_index == 0 and add(0) < want:
    time.sleep(0.1)
print(f"{role} {index}: done, with {len(workers)} workers and {len(servers)} parameter servers")
