#!/usr/bin/env bash
# Runs lido's main job before your eyes, for real: a resource group, a share, a template, machines to log in to.
# It leaves the pool running. `make demo-down` removes every trace.
#   LIDO_DEMO_DATA   state of the demo's lido (default /var/lib/lido-demo)
#   LIDO_DEMO_AZ     directory with the az program (default: the one that `make setup-test` installs)
#   LIDO_DEMO_BATCH_AZ  directory with az 2.45, which has `az batchai` (default: the one that `make setup-test` installs)
set -euo pipefail
cd "$(dirname "$0")/.."
export LIDO_DATA=${LIDO_DEMO_DATA:-/var/lib/lido-demo}
az_dir=${LIDO_DEMO_AZ:-/var/cache/lido-test/clients/az-new/bin}
batch_az_dir=${LIDO_DEMO_BATCH_AZ:-/var/cache/lido-test/clients/az-2.45/bin}
PATH=$PWD/bin:$az_dir:$PATH
site=https://lido.example/pool/
group=team
user=dsvmuser
if [ -t 1 ]; then bold=$(tput bold) dim=$(tput dim) off=$(tput sgr0); else bold='' dim='' off=''; fi

start=$(date +%s%3N)
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$off"; }
fail() { printf '\nNOT AS IT SHOULD BE: %s\n' "$*" >&2; exit 1; }
# run COMMAND...: shows a command, runs it, says how long it took
run() {
  local from to
  printf '%s$ %s%s\n' "$dim" "${shown:-$*}" "$off"
  from=$(date +%s%3N); "$@"; to=$(date +%s%3N)
  printf '%s  (%d.%01d s)%s\n' "$dim" $(((to - from) / 1000)) $(((to - from) % 1000 / 100)) "$off"
}

if [ "${1:-}" = down ]; then
  [ -e "$LIDO_DATA" ] || { echo "there is no demo to take down"; exit 0; }
  lido az forget --data "$LIDO_DATA" >/dev/null 2>&1 || true
  exec lido down --data "$LIDO_DATA" --purge --yes
fi

say "Is this box ready?"
run lido doctor

say "Start lido"
mkdir -p "$LIDO_DATA"; chmod 700 "$LIDO_DATA"
cat >"$LIDO_DATA/lido.yaml" <<YAML
listen: 127.0.0.1:8444
mirrors:
  $site: $PWD/examples/pool
YAML
run lido up --data "$LIDO_DATA" --detach

say "Build the image of a data science machine (once; about three minutes)"
run lido image build dsvm

say "Sign the stock az in, in a shell of its own"
printf '%s$ eval "$(lido az env)"%s\n' "$dim" "$off"
eval "$(lido az env --data "$LIDO_DATA")"
run az account show --query '{cloud:environmentName, user:user.name}' -o table

say "A resource group and a shared drive"
shown="" run az group create --name $group --location local -o table
account=drive$(lido machines -o json >/dev/null && head -c 6 /proc/sys/kernel/random/uuid)
saved=$LIDO_DATA/demo.env
[ -s "$saved" ] || (umask 077; printf 'account=%s\npassword=%s\n' "$account" "Lido-$(tr -dc A-Za-z0-9 </dev/urandom | head -c 14)" >"$saved")
. "$saved"
run az storage account create --name "$account" --resource-group $group --location local -o table
key=$(az storage account keys list --account-name "$account" --resource-group $group --query '[0].value' -o tsv)
run az storage share-rm create --storage-account "$account" --resource-group $group --name drive -o table

say "The pool: one template, two machines behind one address"
shown="az group deployment create --resource-group team --template-file examples/pool/pool.json --parameters @examples/pool/pool.parameters.json storageAccount=$account storageKey=... adminPassword=..."
run az group deployment create --resource-group $group --name pool --template-file examples/pool/pool.json \
  --parameters @examples/pool/pool.parameters.json storageAccount="$account" storageKey="$key" adminPassword="$password" \
  --query '{state:properties.provisioningState, took:properties.duration, address:properties.outputs.poolAddress.value}' -o table
shown=""
address=$(az group deployment show --resource-group $group --name pool --query properties.outputs.poolAddress.value -o tsv)
[ -n "$address" ] || fail "the deployment has no address"
run lido machines
run az vmss list-instances --resource-group $group --name pool -o table
[ "$(lido machines -o json | grep -c '"state": "running"')" = 2 ] || fail "two machines should be running"

say "Log in: ssh $user@$address"
known=$LIDO_DATA/demo.known_hosts; rm -f "$known"
ssh_pool() { SSHPASS=$password sshpass -e ssh -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile="$known" -o PreferredAuthentications=password "$user@$address" "$@"; }
shown="ssh $user@$address 'hostname; nproc; free -h; df -h /mnt/drive; ls -l ~/notebooks'"
run ssh_pool 'echo "this is $(hostname)"; nproc; free -h; df -h /mnt/drive | tail -1; ls -l ~/notebooks/'
shown=""
ssh_pool 'echo "written at $(date -Is) by $(id -un) on $(hostname)" > ~/notebooks/remote/hello.txt && cat ~/notebooks/remote/hello.txt'
# on_each COMMAND: runs a command on every machine by run-command and wants a word of its output
on_each() {
  local i text count=0
  for i in $(az vmss list-instances --resource-group $group --name pool --query '[].instanceId' -o tsv); do
    text=$(az vmss run-command invoke --resource-group $group --name pool --instance-id "$i" --command-id RunShellScript --scripts "$1" --query 'value[0].message' -o tsv)
    case $text in *"$2"*) count=$((count + 1)) ;; *) fail "machine $i: '$1' gave: $text" ;; esac
  done
  echo "seen on $count machines"
}
on_each "cat /mnt/drive/notebooks/$user/hello.txt" "written at"

say "JupyterHub: https://$address:8000"
hub() { "$az_dir/python" demo/notebook.py "https://$address:8000" $user "$password" "$LIDO_DATA/ca/ca.pem" "$@"; }
run hub run remote/first.ipynb
run hub show remote/first.ipynb
on_each "cat /mnt/drive/notebooks/$user/first.ipynb" "sum 45"

say "Batch: a cluster that has no machines until there is work (az 2.45: newer ones have no batchai)"
eval "$(lido az env --data "$LIDO_DATA" --dir "$LIDO_DATA/az-batch")" # the two versions of az cannot read each other's caches
export AZURE_CORE_ONLY_SHOW_ERRORS=yes # az says with each command that batchai is deprecated
batchai() {
  local text="az batchai $* -g $group -w work"
  shown=${text//$password/...} run env PATH="$batch_az_dir:$PATH" az batchai "$@" -g $group -w work
}
idle_at() { [ "$(lido cluster ls --resource-group $group --workspace work -o json | grep -c "\"currentNodeCount\": $1,")" = 1 ]; }
shown="az batchai workspace create -g $group -n work -l local" \
  run env PATH="$batch_az_dir:$PATH" az batchai workspace create -g $group -n work -l local -o table
batchai experiment create -n first -o table
batchai cluster create -n nodes --min 0 --max 2 -s Standard_F2s_v2 -i UbuntuDSVM -u $user -p "$password" \
  --storage-account-name "$account" --afs-name drive --afs-mount-path drive --query '{state:allocationState, nodes:currentNodeCount, size:vmSize}' -o table
shown="ssh $user@$address 'cat > notebooks/remote/pi.py' < examples/recipes/mpi/pi.py" run ssh_pool 'cat > notebooks/remote/pi.py' <examples/recipes/mpi/pi.py
shown=""
cat demo/pi.json
job=pi-$(date +%H%M%S)
batchai job create -e first -n "$job" -c nodes -f demo/pi.json --query '{name:name, state:executionState, nodes:nodeCount, toolkit:toolType}' -o table
batchai job file stream -e first -j "$job" -f stdout.txt | tee "$LIDO_DATA/demo.out"
grep -q 'pi is 3.14159.* on 2 nodes' "$LIDO_DATA/demo.out" || fail "the job did not work out pi on two nodes"
batchai job show -e first -n "$job" --query '{state:executionState, exitCode:executionInfo.exitCode, from:executionInfo.startTime, to:executionInfo.endTime}' -o table
batchai cluster node list -c nodes -o table
run lido cluster ls --resource-group $group --workspace work

say "No more work: a minute later the nodes are gone"
from=$(date +%s)
until idle_at 0; do [ $(($(date +%s) - from)) -lt 180 ] || fail "the cluster did not scale back"; sleep 2; done
run lido cluster ls --resource-group $group --workspace work
run lido usage

say "All of it for real, in $((($(date +%s%3N) - start) / 1000)) s. The pool runs on. What to try next:"
cat <<TEXT
  export LIDO_DATA=$LIDO_DATA PATH=$PWD/bin:$az_dir:\$PATH
  eval "\$(lido az env)"
  ssh $user@$address                                     # password: $password
  open https://$address:8000                             # trust $LIDO_DATA/ca/ca.pem
  az vmss scale --resource-group $group --name pool --new-capacity 3
  lido machines
  lido job submit --resource-group $group --workspace work --cluster nodes -f -- 'nproc; free -g'
  make demo-down                                         # removes every trace
TEXT
