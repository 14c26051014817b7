package batch

import (
	"fmt"
	"strings"

	"lido.dev/lido/internal/node"
)

// codeShareFull says that a job's output could not be written where it belongs.
const codeShareFull = "ShareFull"

// fullProblem explains a job that ended where a volume was full. A process that ended well may have left its output
// incomplete all the same, so the job has failed, and its code does not say otherwise.
func (p *plan) fullProblem(r node.Report, on string, details []variable) Problem {
	said := fmt.Sprintf("a process on node %s ended with %d, and its output may be incomplete", on, r.ExitCode)
	if r.Failure != "" {
		said = fmt.Sprintf("the job could not be started on node %s: %s", on, r.Failure)
	}
	return Problem{codeShareFull, fmt.Sprintf("No space is left on %s: %s. Free some space there, or have stdOutErrPathPrefix name another share, and submit the job again.", p.volumeOf(r.Full), said), details}
}

func fullCode(r node.Report) int {
	if r.Failure != "" || r.ExitCode == 0 {
		return -1
	}
	return r.ExitCode
}

// volumeOf names the volume that a path in a node is on.
func (p *plan) volumeOf(path string) string {
	var on node.Mount
	for _, m := range p.Volumes {
		if strings.HasPrefix(path, m.Target+"/") && len(m.Target) > len(on.Target) {
			on = m
		}
	}
	switch on.Kind {
	case "":
		return "the node's disk"
	case "cifs":
		return "the share " + on.Source
	case "blob":
		return "the container " + on.Source
	}
	return "what is mounted at " + on.Target
}
