#!/usr/bin/env bash
# Installs what lido needs on Debian 12 (or a kin of it): packages by name and limits of the kernel. It says what it
# changes and does nothing twice.
#   packaging/setup.sh             do it (as root)
#   packaging/setup.sh --dry-run   only say it
#   packaging/setup.sh --test      also what tests and the demo need
#   packaging/setup.sh --bench     also the peers that benchmarks measure
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

packages=(
    runc conmon        # machines: the container runtime, and the supervisor that keeps exit codes
    mmdebstrap         # images are built from Debian packages
    uidmap             # ranges of user ids for building images
    nftables           # load balancers and security groups; for looking at them too
    iproute2 conntrack # for looking at what lido made
    lxcfs fuse3        # machines see their own size
    python3 python3-venv python3-pip # Python environments of images, and the test clients
    openssh-client curl ca-certificates
)
test_packages=(
    iptables           # the firewall of hosts with Docker
    sshpass openssl    # scripts log in with passwords and look at certificates
    busybox-static     # programs of container images
    qemu-system-x86 e2fsprogs # a fresh Debian 12 in a virtual machine
)
bench_packages=(haproxy lxd lxd-client btrfs-progs squashfs-tools slurmctld slurmd slurm-client munge)

dry=no
for arg in "$@"; do
    case $arg in
        --dry-run) dry=yes ;;
        --test) packages+=("${test_packages[@]}") ;;
        --bench) packages+=("${bench_packages[@]}") ;;
        *) echo "setup: unknown argument $arg" >&2; exit 2 ;;
    esac
done
say() { echo "setup: $*"; }

changes=0
# change TEXT COMMAND...: says what changes, and does it unless this is a dry run
change() {
    changes=$((changes + 1))
    say "$1"
    if [ "$dry" = no ]; then
        "${@:2}"
    fi
}

missing_packages() {
    local p
    for p in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
    done
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" > /dev/null
}

# apply_sysctl sets what is lower than wanted; a higher value of the operator's stays.
apply_sysctl() {
    local key want have line
    while read -r line; do
        key=${line%% =*} want=${line##*= }
        have=$(sysctl -n "$key" 2>/dev/null) || { say "this kernel has no $key; left out"; continue; }
        if [ "$have" -lt "$want" ]; then
            change "set $key from $have to $want" sysctl -q -w "$key=$want"
        fi
    done < <(grep -v -e '^#' -e '^$' "$here/sysctl.d/60-lido.conf")
}

if [ "$dry" = no ] && [ "$(id -u)" != 0 ]; then
    echo "setup: needs root: run it with sudo, or with --dry-run to see what it would do" >&2
    exit 1
fi
command -v apt-get > /dev/null || { echo "setup: this is no Debian: install the packages named in $0 by other means, then run 'lido doctor'" >&2; exit 1; }

mapfile -t missing < <(missing_packages)
if [ "${#missing[@]}" -gt 0 ]; then
    change "install packages: ${missing[*]}" install_packages "${missing[@]}"
fi
conf=/etc/sysctl.d/60-lido.conf
if ! cmp -s "$here/sysctl.d/60-lido.conf" "$conf"; then
    change "write $conf" install -D -m 0644 "$here/sysctl.d/60-lido.conf" "$conf"
fi
apply_sysctl
if [ "$changes" = 0 ]; then
    say "nothing to change"
fi
