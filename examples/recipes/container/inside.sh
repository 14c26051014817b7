# Says in what system it runs, and writes to the job's share from inside the container.
out=$AZ_BATCHAI_OUTPUT_RESULT/system.txt
{
	echo "root directory: $(ls / | tr '\n' ' ')"
	echo "node: $(hostname)"
} >"$out"
cat "$out"
echo "written to $out"
