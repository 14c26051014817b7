"""A person's way through JupyterHub on this machine, over HTTPS: log in by the form, get a token, start JupyterLab,
save and execute a notebook by the API. Prints what the code printed.

Usage: jupyter.py USER PASSWORD KERNEL DIRECTORY CODE
"""

import json
import ssl
import sys
import time
import uuid

import requests
import urllib3
import websocket

urllib3.disable_warnings()
HUB = "https://127.0.0.1:8000"


def log_in(user, password):
    """Returns a token, as the hub's own page would make it."""
    s = requests.Session()
    s.verify = False
    wait_for_hub(s)
    s.get(HUB + "/hub/login")
    xsrf = s.cookies.get("_xsrf", path="/hub/")
    r = s.post(HUB + "/hub/login", data={"username": user, "password": password, "_xsrf": xsrf})
    if "Invalid username or password" in r.text:
        sys.exit("REFUSED")
    r.raise_for_status()
    xsrf = s.cookies.get("_xsrf", path="/hub/")
    r = s.post(f"{HUB}/hub/api/users/{user}/tokens", json={"note": "test"}, headers={"X-XSRFToken": xsrf})
    r.raise_for_status()
    return r.json()["token"]


def wait_for_hub(s):
    for _ in range(600):
        try:
            if s.get(HUB + "/hub/login").status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    sys.exit("JupyterHub does not answer")


def start_server(api, user):
    """Starts the person's server, unless it runs."""
    for i in range(600):
        if api.get(f"{HUB}/hub/api/users/{user}").json().get("servers", {}).get("", {}).get("ready"):
            return
        if i == 0:
            api.post(f"{HUB}/hub/api/users/{user}/server").raise_for_status()
        time.sleep(0.1)
    sys.exit("the server does not start")


def execute(server, token, kernel, user, code):
    """Yields what the code prints in a new kernel."""
    ws = websocket.create_connection(
        server.replace("https", "wss") + f"/api/kernels/{kernel}/channels",
        header=[f"Authorization: token {token}"],
        sslopt={"cert_reqs": ssl.CERT_NONE},
    )
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": user, "session": "s", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    ws.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}))
    while True:
        m = json.loads(ws.recv())
        if m["msg_type"] == "stream":
            yield m["content"]["text"]
        if m["msg_type"] == "error":
            sys.exit("\n".join(m["content"]["traceback"]))
        if m["msg_type"] == "execute_reply":
            return


def main(user, password, kernel, directory, code):
    token = log_in(user, password)
    api = requests.Session()
    api.verify = False
    api.headers["Authorization"] = "token " + token
    start_server(api, user)
    server = f"{HUB}/user/{user}"
    if "/lab" not in api.get(server).url:
        sys.exit("JupyterLab is not what starts by default")
    cell = {"cell_type": "code", "source": code, "metadata": {}, "outputs": [], "execution_count": None}
    notebook = {"cells": [cell], "metadata": {"kernelspec": {"name": kernel, "display_name": kernel}}, "nbformat": 4, "nbformat_minor": 4}
    api.put(f"{server}/api/contents/{directory}/n.ipynb", json={"type": "notebook", "content": notebook}).raise_for_status()
    r = api.post(f"{server}/api/kernels", json={"name": kernel, "path": directory})
    r.raise_for_status()
    print("".join(execute(server, token, r.json()["id"], user, code)), end="")
    api.delete(f"{server}/api/kernels/{r.json()['id']}").raise_for_status()


main(*sys.argv[1:])
