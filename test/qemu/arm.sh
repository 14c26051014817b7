# What the scripts beside share: requests to ARM, a network and a pool, logging in. The one that reads this sets data.
url=https://127.0.0.1:8443
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

sign_in() {
    local password
    password=$(jq -r .password "$data/admin.json")
    token=$(curl -sS --max-time 60 --cacert "$data/ca/ca.pem" "$url/adfs/oauth2/token" -d grant_type=password -d client_id=qemu \
        -d username=admin --data-urlencode "password=$password" --data-urlencode "resource=$url" | jq -r .access_token)
    [ "$token" != null ] || fail "no token"
}

# into_group: a resource group, and id PATH for what is in it
into_group() {
    group=$(call GET /subscriptions | jq -r '.value[0].id')/resourceGroups/team
    call PUT "$group" '{"location":"local"}' >/dev/null
}
id() { echo "$group/providers/$1"; }

# make_network: a network, and a balancer at $address that shares port 22 and has a port from 50000 on for each machine
make_network() {
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
}

# make_pool COUNT COMMAND: so many machines behind the balancer, each of which runs a command first; /root/key logs in to them
make_pool() {
    rm -f /root/key* /root/.ssh/known_hosts; ssh-keygen -q -t ed25519 -N '' -f /root/key
    pool=$(id Microsoft.Compute/virtualMachineScaleSets/pool)
    put "$pool" "$(jq -n --argjson count "$1" --arg command "$2" --arg key "$(cat /root/key.pub)" --arg lb "$lb" --arg subnet "$(id Microsoft.Network/virtualNetworks/net/subnets/machines)" '{location:"local",
        sku:{name:"Standard_F1s",capacity:$count},properties:{overprovision:false,upgradePolicy:{mode:"Manual"},virtualMachineProfile:{
        storageProfile:{imageReference:{publisher:"lido",offer:"machines",sku:"base",version:"latest"}},
        osProfile:{computerNamePrefix:"pool",adminUsername:"tester",linuxConfiguration:{disablePasswordAuthentication:true,ssh:{publicKeys:[{path:"/home/tester/.ssh/authorized_keys",keyData:$key}]}}},
        networkProfile:{networkInterfaceConfigurations:[{name:"nic",properties:{primary:true,ipConfigurations:[{name:"ip",properties:{subnet:{id:$subnet},
            loadBalancerBackendAddressPools:[{id:($lb+"/backendAddressPools/machines")}],loadBalancerInboundNatPools:[{id:($lb+"/inboundNatPools/each")}]}}]}}]},
        extensionProfile:{extensions:[{name:"first",properties:{publisher:"Microsoft.Azure.Extensions",type:"CustomScript",typeHandlerVersion:"2.1",protectedSettings:{commandToExecute:$command}}}]}}}}')" 300
}

# purge: lido down --purge, after which nothing may be left
purge() {
    lido down --data "$data" --purge --yes || fail "lido down"
    [ -z "$(left)" ] || { left; fail "traces are left"; }
}
left() {
    ls -d "$data" /run/netns/lido-* /sys/fs/cgroup/lido* 2>/dev/null || true
    ip -o link | grep -o ' ld[0-9a-f]\{6\}[^:@]*' || true
    ip route | grep -F 10.254. || true
    nft list tables | grep lido || true
    findmnt -rno TARGET | grep -i lido || true
    pgrep -ax conmon || pgrep -ax runc || pgrep -ax lido || true
    find /run/lido -type f -o -type s 2>/dev/null || true
}
