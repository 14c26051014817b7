// Package test drives the whole program as its users do: scripts under testdata/script start a lido of their own and
// use it with the real az, ssh, curl and the Python SDK. It needs root and what `make setup` and `make setup-test`
// install. CONTRIBUTING.md says how to run one script.
//
// Beside testscript's own commands, scripts have:
//
//	up [ARGS...]          start lido with the script's data directory ($DATA), on a free port, with a range of public
//	                      addresses of its own, and wait until it is ready
//	crash                 kill -9 of the server; `up` starts it again
//	az-env NAME [ARGS...] from here on, az is the client NAME (az-new, az-2.45), signed in by `lido az env ARGS`
//	eventually SECONDS COMMAND...  repeat a program until it succeeds (its last output is stdout)
//	python FILE [ARGS...] run a program with the Azure SDK for Python
//	small-disk MIB DIR    mount a file system of that size at a directory, until the script ends
//	capture NAME          put the last command's output, trimmed, into the variable NAME
//
// Conditions: [client:NAME] for an installed client, [image:NAME] for an image of lido's own that the tests' cache has.
// When a script ends, however it ends, its lido is taken away with all machines, networks and state.
package test
