#!/bin/bash
# A small pool's life on this box, told to a real lido by ARM requests: made, logged in to, grown, bereft of its server,
# taken down without a trace. Every wait is bounded. Usage: pool.sh DIR, which holds images/ and is removed in the end.
set -euo pipefail
umask 077 # as careful administrators have it
data=$1
. "$(dirname "$0")/arm.sh"

up() {
    local out
    out=$(lido up --detach --data "$data" --listen 127.0.0.1:8443) || fail "lido up"
    echo "$out"
    pid=$(sed -n 's/.*(process \([0-9]*\),.*/\1/p' <<<"$out")
}

say "a box that lido can live on"
lido doctor || fail "lido doctor"
say "lido up"
up
say "ready; sign in"
sign_in
into_group

say "a share"
storage=$(id Microsoft.Storage/storageAccounts/qemudrive)
put "$storage" '{"location":"local","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{}}'
call PUT "$storage/fileServices/default/shares/drive" '{"properties":{}}' >/dev/null
key=$(call POST "$storage/listKeys" | jq -r '.keys[0].value')

say "a network, an address, a balancer"
make_network

say "a pool of two machines at $address, each with the share mounted by its extension"
make_pool 2 "mkdir -p /mnt/drive && mount -t cifs //qemudrive.file.core.windows.net/drive /mnt/drive -o vers=3.0,username=qemudrive,password=$key,dir_mode=0777,file_mode=0777"
lido machines --data "$data"

say "log in through the pool's address"
[ "$(at 22 'id -un; nproc; cat /proc/1/comm' | tr '\n' ' ')" = "tester 1 systemd " ] || fail "not a machine of one vCPU: $(at 22 'id -un; nproc; cat /proc/1/comm')"
at 22 'hostname; free -m | head -2; cat /proc/self/cgroup; systemctl is-system-running; df -h /mnt/drive | tail -1'
one=$(at 50000 hostname) two=$(at 50001 hostname)
[ "$one" != "$two" ] || fail "two ports, one machine: $one"
at 50000 'ln -s /etc/hostname /mnt/drive/link && echo written by $(hostname) >/mnt/drive/note'
[ "$(at 50001 'cat /mnt/drive/note; readlink /mnt/drive/link' | tr '\n' ' ')" = "written by $one /etc/hostname " ] || fail "the share is not shared"

say "three machines"
call PATCH "$pool" '{"sku":{"capacity":3}}' >/dev/null
provisioned "$pool" 300
three=$(at 50002 'hostname; cat /mnt/drive/note')
echo "$three"

say "kill -9 lido (process $pid); sessions go on"
at 22 'sleep 20; echo the session lives' >/root/session &
session=$!
sleep 3
before=$(at 50000 'cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic')
kill -9 "$pid"
[ "$(at 50001 hostname)" = "$two" ] || fail "no new connection while lido is away"
up
sign_in
provisioned "$pool" 120
[ "$(at 50000 'cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic')" = "$before" ] || fail "the machine was booted again"
wait $session || fail "the session ended"
grep 'the session lives' /root/session || fail "the session ended"
[ "$(call GET "$pool/virtualMachines" | jq '.value | length')" = 3 ] || fail "not three instances"

say "delete the group"
call DELETE "$group" >/dev/null
end=$((SECONDS + 120))
while call GET "$group" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "the group is still there"
    sleep 1
done
[ -z "$(pgrep -x conmon)" ] || fail "machines are left"

say "lido down --purge; nothing is left"
purge
say "done"
