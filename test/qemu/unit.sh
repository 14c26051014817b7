#!/bin/bash
# lido as a service of systemd, by the unit that is shipped. Before a reboot of the box (unit.sh before): ready when
# started, started again when killed, and machines that don't mind either. After it (unit.sh after): the machine went down
# in order and is back by itself. Every wait is bounded. /var/lib/lido holds images/ and is removed in the end.
set -euo pipefail
data=/var/lib/lido
. "$(dirname "$0")/arm.sh"
main() { systemctl show -p MainPID --value lido; }
boot() { at 22 'cat /proc/1/stat | cut -d" " -f22; hostname'; } # when the machine's init was started

before() {
    say "systemctl start"
    systemctl enable lido
    systemctl start lido || { journalctl -u lido | tail -n 20; fail "start"; }
    [ "$(systemctl is-active lido)" = active ] || fail "not active"
    say "active means ready; sign in"
    sign_in
    into_group
    make_network
    say "a machine at $address"
    make_pool 1 "printf '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=/bin/sh -c \"echo bye >/var/bye\"\n' >/etc/systemd/system/bye.service && systemctl start bye"
    echo "$address" >/root/address

    say "kill -9 lido (process $(main)); systemd starts it again, a session goes on"
    at 22 'sleep 15; echo the session lives' >/root/session &
    local session=$! was=$(main) first end=$((SECONDS + 60))
    first=$(boot)
    kill -9 "$was"
    while [ "$(systemctl is-active lido)" != active ] || [ "$(main)" = "$was" ] || [ "$(main)" = 0 ]; do
        [ $SECONDS -lt $end ] || { systemctl status lido; fail "not started again"; }
        sleep 0.5
    done
    say "active again (process $(main), $(systemctl show -p NRestarts lido))"
    provisioned "$pool" 60
    [ "$(boot)" = "$first" ] || fail "the machine was booted again: $first, $(boot)"

    say "systemctl restart"
    systemctl restart lido
    provisioned "$pool" 60
    [ "$(boot)" = "$first" ] || fail "the machine was booted again: $first, $(boot)"
    wait $session || fail "the session ended"
    grep 'the session lives' /root/session || fail "the session ended"
    sync
}

after() {
    address=$(cat /root/address)
    say "the box is up again; lido is $(systemctl is-active lido)"
    [ "$(systemctl is-active lido)" = active ] || { journalctl -u lido | tail -n 20; fail "not active"; }
    local end=$((SECONDS + 150))
    until [ "$(at 22 cat /var/bye)" = bye ]; do
        [ $SECONDS -lt $end ] || { lido machines --data "$data"; fail "the machine is not back, or did not end in order"; }
        sleep 2
    done
    say "the machine is back"
    lido machines --data "$data"
    sign_in
    into_group
    provisioned "$(id Microsoft.Compute/virtualMachineScaleSets/pool)" 60

    say "systemctl stop; the machine runs on"
    systemctl stop lido
    [ "$(at 22 cat /var/bye)" = bye ] || fail "the machine is gone"
    systemctl start lido

    say "lido down --purge ends the service too; nothing is left"
    systemctl disable lido
    purge
    [ "$(systemctl is-active lido)" = inactive ] || fail "the service is $(systemctl is-active lido)"
}

"$1"
say "done"
