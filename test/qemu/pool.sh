#!/bin/bash
# A small pool's life on this box, told to a real lido by ARM requests: made, logged in to, grown, bereft of its server,
# taken down without a trace. Every wait is bounded. Usage: pool.sh DIR, which holds images/ and is removed in the end.
set -euo pipefail
data=$1
start=$SECONDS
say() { echo "== $((SECONDS - start)) s: $*"; }
fail() { echo "FAILED: $*"; tail -n 30 "$data/log/lido.log" 2>/dev/null || true; exit 1; }

# call METHOD PATH [BODY]: one request to ARM, prints the answer's body; an answer that is no success fails
call() {
    local out code
    out=$(curl -sS --max-time 60 --cacert "$data/ca/ca.pem" -X "$1" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
        -w '\n%{http_code}' ${3:+--data-binary "$3"} "$url$2?api-version=2022-11-01") || fail "$1 $2"
    code=${out##*$'\n'} out=${out%$'\n'*}
    [ "$code" -lt 300 ] || { echo "$out" >&2; [ "$code" = 404 ] && return 4; fail "$1 $2: $code"; }
    echo "$out"
}

# provisioned PATH SECONDS: waits for a resource
provisioned() {
    local state end=$((SECONDS + $2))
    while state=$(call GET "$1" | jq -r '.properties.provisioningState // "Succeeded"'); [ "$state" != Succeeded ]; do
        if [ "$state" = Failed ] || [ $SECONDS -ge $end ]; then
            call GET "$1/instanceView" || true
            call GET "$1/virtualMachines" | jq -c '.value[].properties' || true
            fail "$1 is $state"
        fi
        sleep 1
    done
}

put() { call PUT "$1" "$2" >/dev/null; provisioned "$1" "${3:-20}"; }

# at PORT COMMAND...: runs a command on the machine behind a port of the pool's address
at() {
    local port=$1; shift
    timeout 150 ssh -n -i /root/key -p "$port" -o BatchMode=yes -o ConnectTimeout=60 -o StrictHostKeyChecking=accept-new "tester@$address" "$@"
}

up() {
    local out
    out=$(lido up --detach --data "$data" --listen 127.0.0.1:8443) || fail "lido up"
    echo "$out"
    url=https://127.0.0.1:8443
    pid=$(sed -n 's/.*(process \([0-9]*\),.*/\1/p' <<<"$out")
}

sign_in() {
    local password
    password=$(jq -r .password "$data/admin.json")
    token=$(curl -sS --max-time 60 --cacert "$data/ca/ca.pem" "$url/adfs/oauth2/token" -d grant_type=password -d client_id=qemu \
        -d username=admin --data-urlencode "password=$password" --data-urlencode "resource=$url" | jq -r .access_token)
    [ "$token" != null ] || fail "no token"
}

say "a box that lido can live on"
lido doctor || fail "lido doctor"
say "lido up"
up
say "ready; sign in"
sign_in
group=$(call GET /subscriptions | jq -r '.value[0].id')/resourceGroups/team
call PUT "$group" '{"location":"local"}' >/dev/null
id() { echo "$group/providers/$1"; }

say "a share"
storage=$(id Microsoft.Storage/storageAccounts/qemudrive)
put "$storage" '{"location":"local","kind":"StorageV2","sku":{"name":"Standard_LRS"},"properties":{}}'
call PUT "$storage/fileServices/default/shares/drive" '{"properties":{}}' >/dev/null
key=$(call POST "$storage/listKeys" | jq -r '.keys[0].value')

say "a network, an address, a balancer"
put "$(id Microsoft.Network/virtualNetworks/net)" '{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"machines","properties":{"addressPrefix":"10.0.0.0/24"}}]}}'
put "$(id Microsoft.Network/publicIPAddresses/ip)" '{"location":"local","properties":{"publicIPAllocationMethod":"Static"}}'
address=$(call GET "$(id Microsoft.Network/publicIPAddresses/ip)" | jq -r .properties.ipAddress)
lb=$(id Microsoft.Network/loadBalancers/lb)
front="{\"id\":\"$lb/frontendIPConfigurations/public\"}"
put "$lb" "$(jq -n --arg lb "$lb" --argjson front "$front" --arg ip "$(id Microsoft.Network/publicIPAddresses/ip)" '{location:"local",properties:{
    frontendIPConfigurations:[{name:"public",properties:{publicIPAddress:{id:$ip}}}],
    backendAddressPools:[{name:"machines"}],
    probes:[{name:"ssh",properties:{protocol:"Tcp",port:22,intervalInSeconds:5,numberOfProbes:2}}],
    inboundNatPools:[{name:"each",properties:{frontendIPConfiguration:$front,protocol:"Tcp",frontendPortRangeStart:50000,frontendPortRangeEnd:50099,backendPort:22}}],
    loadBalancingRules:[{name:"ssh",properties:{frontendIPConfiguration:$front,protocol:"Tcp",frontendPort:22,backendPort:22,loadDistribution:"SourceIP",
        backendAddressPool:{id:($lb+"/backendAddressPools/machines")},probe:{id:($lb+"/probes/ssh")}}}]}}')"

say "a pool of two machines at $address, each with the share mounted by its extension"
rm -f /root/key*; ssh-keygen -q -t ed25519 -N '' -f /root/key
mount="mkdir -p /mnt/drive && mount -t cifs //qemudrive.file.core.windows.net/drive /mnt/drive -o vers=3.0,username=qemudrive,password=$key,dir_mode=0777,file_mode=0777"
pool=$(id Microsoft.Compute/virtualMachineScaleSets/pool)
put "$pool" "$(jq -n --arg key "$(cat /root/key.pub)" --arg mount "$mount" --arg lb "$lb" --arg subnet "$(id Microsoft.Network/virtualNetworks/net/subnets/machines)" '{location:"local",
    sku:{name:"Standard_F1s",capacity:2},properties:{overprovision:false,upgradePolicy:{mode:"Manual"},virtualMachineProfile:{
    storageProfile:{imageReference:{publisher:"lido",offer:"machines",sku:"base",version:"latest"}},
    osProfile:{computerNamePrefix:"pool",adminUsername:"tester",linuxConfiguration:{disablePasswordAuthentication:true,ssh:{publicKeys:[{path:"/home/tester/.ssh/authorized_keys",keyData:$key}]}}},
    networkProfile:{networkInterfaceConfigurations:[{name:"nic",properties:{primary:true,ipConfigurations:[{name:"ip",properties:{subnet:{id:$subnet},
        loadBalancerBackendAddressPools:[{id:($lb+"/backendAddressPools/machines")}],loadBalancerInboundNatPools:[{id:($lb+"/inboundNatPools/each")}]}}]}}]},
    extensionProfile:{extensions:[{name:"drive",properties:{publisher:"Microsoft.Azure.Extensions",type:"CustomScript",typeHandlerVersion:"2.1",protectedSettings:{commandToExecute:$mount}}}]}}}}')" 300
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
lido down --data "$data" --purge --yes || fail "lido down"
left() {
    ls -d "$data" /run/netns/lido-* /sys/fs/cgroup/lido* 2>/dev/null || true
    ip -o link | grep -o ' ld[0-9a-f]\{6\}[^:@]*' || true
    ip route | grep -F 10.254. || true
    nft list tables | grep lido || true
    findmnt -rno TARGET | grep -i lido || true
    pgrep -ax conmon || pgrep -ax runc || pgrep -ax lido || true
    find /run/lido -type f -o -type s 2>/dev/null || true
}
[ -z "$(left)" ] || { left; fail "traces are left"; }
say "done"
