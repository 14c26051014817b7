"""Uses JupyterHub as a person does, through its HTTP and websocket interfaces.

    notebook.py URL USER PASSWORD CA_FILE run PATH     log in, start JupyterLab, run a small notebook, save it as PATH
    notebook.py URL USER PASSWORD CA_FILE show PATH    log in and print the outputs of the notebook at PATH

PATH is below the person's notebook directory. Needs requests and websocket-client.
"""

import json
import ssl
import sys
import time
import uuid
from urllib.parse import quote, urlsplit

import requests
import websocket

CODE = "import platform, numpy\nprint('sum', int(numpy.arange(10).sum()), 'on', platform.node())"


class Hub:
    def __init__(self, url, user, password, ca):
        self.url, self.user, self.ca = url.rstrip("/"), user, ca
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = ca
        self.login(password)
        self.start_server()

    def login(self, password):
        page = self.session.get(self.url + "/hub/login", timeout=60)
        page.raise_for_status()
        answer = self.session.post(
            self.url + "/hub/login",
            data={"username": self.user, "password": password, "_xsrf": self.session.cookies.get("_xsrf", path="/hub/")},
            timeout=60,
            allow_redirects=False,
        )
        if answer.status_code != 302:
            raise SystemExit(f"login was refused: {answer.status_code}")

    def start_server(self):
        self.session.get(self.url + "/hub/spawn", timeout=120)
        for _ in range(240):
            answer = self.session.get(f"{self.url}/user/{self.user}/api/status", timeout=60, allow_redirects=False)
            if answer.status_code == 200:
                return
            if answer.status_code in (302, 403):  # it does not know us yet: the page sends us to the hub and back
                self.session.get(f"{self.url}/user/{self.user}/lab", timeout=60)
            time.sleep(0.5)
        raise SystemExit("JupyterLab did not start within two minutes")

    def api(self, method, path, body=None):
        cookies = {c.name: c.value for c in self.session.cookies if c.path.startswith(f"/user/{self.user}")}
        answer = self.session.request(
            method,
            f"{self.url}/user/{self.user}/api/{path}",
            json=body,
            headers={"X-XSRFToken": cookies.get("_xsrf", "")},
            timeout=120,
        )
        if answer.status_code >= 300:
            raise SystemExit(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.text else None

    def execute(self, code):
        """Runs code in a new kernel and returns what it printed."""
        kernel = self.api("POST", "kernels", {"name": "python3"})["id"]
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.session.cookies)
        address = f"wss://{urlsplit(self.url).netloc}/user/{self.user}/api/kernels/{kernel}/channels"
        socket = websocket.create_connection(
            address, cookie=cookies, timeout=120, sslopt={"ca_certs": self.ca, "cert_reqs": ssl.CERT_REQUIRED}
        )
        try:
            return self.converse(socket, code)
        finally:
            socket.close()
            self.api("DELETE", f"kernels/{kernel}")

    def converse(self, socket, code):
        header = {"msg_id": uuid.uuid4().hex, "username": self.user, "session": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        socket.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}))
        text = ""
        while True:
            message = json.loads(socket.recv())
            if message.get("parent_header", {}).get("msg_id") != header["msg_id"]:
                continue
            if message["msg_type"] == "stream":
                text += message["content"]["text"]
            elif message["msg_type"] == "error":
                raise SystemExit("the notebook failed: " + message["content"]["evalue"])
            elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return text

    def run(self, path):
        output = self.execute(CODE)
        cell = {
            "cell_type": "code", "execution_count": 1, "metadata": {}, "source": CODE, "id": uuid.uuid4().hex[:8],
            "outputs": [{"output_type": "stream", "name": "stdout", "text": output}],
        }
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}}, "cells": [cell]}
        self.api("PUT", "contents/" + quote(path), {"type": "notebook", "format": "json", "content": notebook})
        return output

    def show(self, path):
        cells = self.api("GET", "contents/" + quote(path))["content"]["cells"]
        return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))


def main():
    url, user, password, ca, verb, path = sys.argv[1:]
    hub = Hub(url, user, password, ca)
    print((hub.run if verb == "run" else hub.show)(path).strip())


if __name__ == "__main__":
    main()
