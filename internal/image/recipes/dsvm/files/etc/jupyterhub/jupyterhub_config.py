"""JupyterHub on a machine of lido: HTTPS on port 8000, login by the machine's accounts, JupyterLab."""

import os
import pwd
import subprocess

from jupyterhub.auth import PAMAuthenticator

c = get_config()  # noqa: F821

STATE = "/var/lib/jupyterhub"

# The way in. The certificate is the machine's, made by lido.
c.JupyterHub.bind_url = "https://0.0.0.0:8000"
c.JupyterHub.ssl_cert = "/etc/lido/tls/cert.pem"
c.JupyterHub.ssl_key = "/etc/lido/tls/key.pem"
c.JupyterHub.hub_ip = "127.0.0.1"
c.ConfigurableHTTPProxy.command = ["/usr/local/bin/configurable-http-proxy"]
c.ConfigurableHTTPProxy.pid_file = "/run/jupyterhub-proxy.pid"

# What is kept. People's servers live on when the hub is restarted.
c.JupyterHub.db_url = f"sqlite:///{STATE}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = f"{STATE}/cookie_secret"
c.JupyterHub.cleanup_servers = False


class MachineAuthenticator(PAMAuthenticator):
    """Accounts are called as in the machine: capitals are others than small letters."""

    def normalize_username(self, username):
        return username


# Who may come in: everyone who may log in to the machine. Its administrators are the hub's.
c.JupyterHub.authenticator_class = MachineAuthenticator
c.Authenticator.allow_all = True
c.PAMAuthenticator.service = "jupyterhub"
c.PAMAuthenticator.admin_groups = {"sudo"}
c.PAMAuthenticator.open_sessions = False

# What they get. The server itself leaves a person's own packages (~/.local) alone, so that none of them can keep it
# from starting; notebooks and terminals see them.
c.Spawner.cmd = ["/usr/bin/python3", "-s", "-m", "jupyterhub.singleuser"]
c.Spawner.default_url = "/lab"
c.Spawner.notebook_dir = "~/notebooks"
c.Spawner.http_timeout = 60
c.Spawner.start_timeout = 120
c.Spawner.environment = {
    "PATH": lambda spawner: f"{home(spawner)}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
    "LANG": "C.UTF-8",
}


def home(spawner):
    return pwd.getpwnam(spawner.user.name).pw_dir


def make_notebooks(spawner):
    """The person's notebook directory is there, even when it was deleted. Made as that person."""
    directory = os.path.join(home(spawner), "notebooks")
    if not os.path.isdir(directory):
        subprocess.run(["/usr/sbin/runuser", "-u", spawner.user.name, "--", "mkdir", "-p", directory], check=False)


c.Spawner.pre_spawn_hook = make_notebooks
