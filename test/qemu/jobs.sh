#!/bin/bash
# Batch jobs on this box, whose cgroups are of version 2 alone: what a job used is what its own cgroup counted, ending it
# ends all that it started, nothing of its cgroups stays, and a lido that is killed neither loses nor repeats it. Every
# wait is bounded. Usage: jobs.sh DIR, which holds images/ and is removed in the end.
set -euo pipefail
umask 077 # as careful administrators have it
data=$1
export LIDO_DATA=$data
. "$(dirname "$0")/arm.sh"

up() {
    local out
    out=$(lido up --detach --data "$data" --listen 127.0.0.1:8443) || fail "lido up"
    echo "$out"
    pid=$(sed -n 's/.*(process \([0-9]*\),.*/\1/p' <<<"$out")
}

# until_true SECONDS WHAT COMMAND...: waits for a condition
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || { lido job ls || true; job_groups; fail "$what: not after all that time"; }
        sleep 0.5
    done
}

job() { timeout 200 lido job "$@"; }
job_groups() { find /sys/fs/cgroup/lido.slice -path '*lido-node.service/jobs/*' -type d; }
no_groups() { [ -z "$(job_groups)" ]; }
strays() { pgrep -fc 'stray-of-jo[b]' || true; }

# used JOB FIELD LEAST MOST: checks a figure of the ledger
used() {
    local v
    v=$(lido usage --by job -o json | jq ".[] | select(.of | endswith(\"/jobs/$1\")) | .$2")
    echo "$1: $2 $v, want $3 to $4"
    jq -en "$v >= $3 and $v <= $4" >/dev/null || fail "$2 of $1"
}

say "lido up; a cluster of one node that runs three jobs at a time"
up
lido cluster create default --nodes 1 --slots 3 --size Standard_F1s --image base
lido cluster ls

say "a job that uses what is known: 2 s of CPU time, 96 MiB of memory, 24 MiB written and 16 MiB read past the page cache, 8 MiB written and not on the disk yet when it ends"
cat >/root/use.sh <<'END'
set -e
id -un
cut -d: -f3 /proc/self/cgroup
perl -e 'while ((times)[0] < 2) {$n++}' &
perl -e 'vec($x, (96 << 20) - 1, 8) = 1; sleep 1'
dd if=/dev/zero of=f bs=1M count=24 oflag=direct status=none
dd if=f of=/dev/null bs=1M count=16 iflag=direct status=none
dd if=/dev/zero of=g bs=1M count=8 status=none
wait
exit 3
END
code=0
job submit --name known --file /root/use.sh --wait -- 'bash use.sh' || code=$?
job show known
[ $code = 3 ] || { job logs known; fail "exit code $code, want 3"; }
out=$(job logs known)
echo "$out"
grep -qx lido <<<"$out" || fail "not run as the cluster's user"
grep -q '^/system.slice/lido-node.service/jobs/[0-9a-f]*/[0-9a-f]*$' <<<"$out" || fail "not in a cgroup of its own"
used known jobs 1 1
used known cpuSeconds 2 "$(lido usage --by job -o json | jq '.[0].jobSeconds + 0.5')" # there is one CPU
used known peakMemoryBytes $((96 << 20)) $((192 << 20))
used known bytesWritten $((32 << 20)) $((48 << 20))
used known bytesRead $((16 << 20)) $((64 << 20))

say "a job next to it pays for itself alone"
job submit --name small --wait -- 'exec true' >/dev/null || fail "the small job"
used small cpuSeconds 0.001 1.5
used small peakMemoryBytes 4096 $((32 << 20))
until_true 60 "the cgroups of jobs that have ended are gone" no_groups

say "kill a job whose processes left its session, don't heed TERM, and multiply"
job submit --name tree -- 'for i in 1 2 3; do setsid bash -c "trap \"\" TERM; exec -a stray-of-job sleep 1000" & done
    (trap "" TERM; while :; do (exec -a stray-of-job sleep 0.5 &); sleep 0.1; done) & touch up; echo up; sleep 1000' >/dev/null
until_true 120 "the tree is up" bash -c 'lido job logs tree 2>/dev/null | grep -q up'
[ "$(strays)" -ge 3 ] || fail "the tree has $(strays) strays"
job kill --wait tree
[ "$(strays)" = 0 ] || fail "$(strays) processes survive"
job show tree
until_true 60 "the cgroup of the killed job is gone" no_groups

say "kill -9 lido (process $pid) while jobs run; one ends before it is back, one after"
for n in early late; do
    job submit --name $n -- "cd \$AZ_BATCHAI_JOB_MOUNT_ROOT/jobs; echo $n >>ran; until [ -e go-$n ]; do sleep 0.2; done; echo $n >>ended; exit 5" >/dev/null
done
ran() { share=$(find "$data" -name ran -printf '%h\n') && [ -n "$share" ] && [ "$(sort "$share/ran" | xargs)" = "early late" ]; }
until_true 120 "both jobs run" ran
job submit --name after -- 'echo after >>$AZ_BATCHAI_JOB_MOUNT_ROOT/jobs/ran' >/dev/null
kill -9 "$pid"
touch "$share/go-early"
until_true 60 "a job ends while lido is away" grep -qs early "$share/ended"
up
touch "$share/go-late"
for n in early late; do
    code=0
    job wait $n || code=$?
    [ $code = 5 ] || fail "$n: exit code $code, want 5"
    used $n jobs 1 1
done
job wait after || fail "the job that was submitted last"
[ "$(sort "$share/ran" | xargs)" = "after early late" ] || { cat "$share/ran"; fail "lost or repeated"; }
[ "$(sort "$share/ended" | xargs)" = "early late" ] || { cat "$share/ended"; fail "lost or repeated"; }
until_true 60 "no cgroups of jobs are left" no_groups
lido usage --by job

say "lido down --purge; nothing is left"
purge
say "done"
