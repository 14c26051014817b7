# Runs a command in a machine under the machine's own init, once, whatever becomes of the caller; waits for its end and
# prints its exit code and the ends of its output. Called again with the same name it goes on waiting.
#   $1 name of the unit   $2 directory for output   $3 seconds that the command may take   $4 bytes of output to print
# The command is on standard input. It is kept below /run, which is never on a disk, for it may hold secrets.
name=$1 dir=$2 limit=$3 keep=$4 run=/run/lido-jobs/$1
umask 077
active() { systemctl is-active --quiet "$name"; }

if [ ! -e "$dir/exit" ] && [ ! -e "$dir/started" ]; then
	mkdir -p "$dir" "$run" || exit 70
	cat >"$run/command.new" && mv "$run/command.new" "$run/command" || exit 70
	until [ -S /run/systemd/private ]; do sleep 0.05; done
	timeout 60 systemctl is-system-running --wait >/dev/null 2>&1
	said=$(systemd-run --quiet --unit="$name" --property=RuntimeMaxSec="$limit" -- /bin/sh -c '
		: >"$1/started"
		cd "$1" || exit 70
		/bin/sh "$2/command" >"$1/stdout" 2>"$1/stderr" </dev/null
		echo $? >"$1/exit.new"
		mv "$1/exit.new" "$1/exit"
		rm -rf "$2"' sh "$dir" "$run" 2>&1) || active || [ -e "$dir/started" ] || { echo "$said" >&2; exit 70; }
fi
while [ ! -e "$dir/exit" ]; do
	if ! active; then
		sleep 0.3
		[ -e "$dir/exit" ] && break
		active || { rm -rf "$run"; tail -c "$keep" "$dir/stdout" 2>/dev/null; tail -c "$keep" "$dir/stderr" >&2 2>/dev/null; exit 75; }
	fi
	sleep 0.1
done
cat "$dir/exit"
tail -c "$keep" "$dir/stdout"
tail -c "$keep" "$dir/stderr" >&2
exit 0
